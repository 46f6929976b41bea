"""How fast patients are decided: the engine's closures against a plain loop over dictionaries.

``python benchmarks/screening.py [--json] [--patients N]``. The forty patients of ``fixtures/synthea`` are repeated
under new ids, in a seeded order, and decided for ``examples/trials/cardiometabolic-synthea.yaml``. Both engines read
the same NDJSON, and both must say the same about every criterion of every patient before a time is shown. Seconds
are CPU seconds of evaluation alone: making objects out of JSON is left out on both sides. Each engine runs in a
process of its own, so that its memory is its own.

Set-wise engines come with a later release; until then they have no row.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "fixtures" / "synthea"
TRIAL = ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml"
TYPES = ("Patient", "Condition", "Observation", "MedicationRequest", "Encounter", "Procedure")
INDEX = date(2026, 1, 1)
PATIENTS = 10_000
Verdicts = tuple[int, ...]
NO, UNKNOWN, YES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine's run.

    Args:
        seconds: CPU time of evaluation.
        verdicts: of all patients, in order; 0 fail, 1 unknown, 2 pass, after negating exclusions.
        peak_bytes: largest resident size of its process.
    """

    seconds: float
    verdicts: tuple[Verdicts, ...]
    peak_bytes: int


def people() -> dict[str, dict[str, list[str]]]:
    """Patient to type to lines of NDJSON."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in TYPES:
        with gzip.open(DATA / f"{name}.ndjson.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                owner = (
                    record["id"] if name == "Patient" else record["subject"]["reference"].partition("/")[2]
                )
                found.setdefault(owner, {kind: [] for kind in TYPES})[name].append(line)
    return found


def replicas(count: int) -> Iterator[dict[str, list[str]]]:
    """So many patients: the forty again and again, each time in another order and under other ids."""
    originals = list(people().items())
    chance = random.Random(20_260_101)
    made = 0
    while made < count:
        chance.shuffle(originals)
        for owner, kinds in originals[: count - made]:
            made += 1
            fresh = f"r{made}{owner}"
            yield {kind: [line.replace(owner, fresh) for line in lines] for kind, lines in kinds.items()}


def with_closures(count: int) -> Measured:
    """The engine: frozen records, one compiled function."""
    from zoneinfo import ZoneInfo

    import msgspec

    from ehr.records.fetched import Kind, complete
    from ehr.records.patient import RESOURCES, PatientRecord, PatientRef
    from federated.screening.decide.evaluate import compile_verdicts
    from federated.screening.plan.trial_plan import SiteFacts, make_plan
    from federated.screening.trial.load import load_trial

    trial = replace(load_trial(TRIAL), allow_deceased=True)  # the ten criteria of the file, and no other
    decide = compile_verdicts(make_plan(trial, SiteFacts(ZoneInfo("UTC"), key=b"k" * 32), INDEX))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    decoders = {
        shape.__name__: (kind, msgspec.json.Decoder(shape))
        for kind, shapes in RESOURCES.items()
        for shape in shapes
    }

    def record(lines: dict[str, list[str]]) -> PatientRecord:
        kinds = {kind: complete((), now) for kind in Kind}
        patient = decoders["Patient"][1].decode(lines["Patient"][0])
        for name in TYPES:
            kind, decoder = decoders[name]
            kinds[kind] = complete(tuple(decoder.decode(line) for line in lines[name]), now)
        return PatientRecord(PatientRef(patient.id), patient, kinds)

    return _timed(count, record, decide)


def with_dicts(count: int) -> Measured:
    """What one would write first, if one knew the rules: dictionaries and a loop."""

    def record(lines: dict[str, list[str]]) -> dict[str, list[Any]]:
        return {kind: [json.loads(line) for line in found] for kind, found in lines.items()}

    return _timed(count, record, DictLoop(INDEX).decide)


def _timed(count: int, record: Callable[[Any], Any], decide: Callable[[Any], Verdicts]) -> Measured:
    seconds, verdicts = 0.0, []
    for lines in replicas(count):
        made = record(lines)
        began = time.process_time()
        verdicts.append(decide(made))
        seconds += time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Measured(seconds, tuple(verdicts), peak)


SNOMED, LOINC = "http://snomed.info/sct", "http://loinc.org"
ICD10CM, RXNORM = "http://hl7.org/fhir/sid/icd-10-cm", "http://www.nlm.nih.gov/research/umls/rxnorm"
RISK = {(SNOMED, code) for code in ("59621000", "38341003", "55822004", "15777000", "44054006")}
RISK |= {(ICD10CM, code) for code in ("I10", "E78.5", "R73.03")}
EGFR_UNITS = ("mL/min/{1.73_m2}", "mL/min")


class DictLoop:
    """The ten criteria over dictionaries, with three values and nothing else that the engine offers.

    It relies on what this data is: times with a zone, one unit per test, no text-only entries.
    """

    def __init__(self, index: date) -> None:
        self._index = index
        self._last = datetime(index.year, index.month, index.day, 23, 59, 59, tzinfo=UTC)
        midnight = datetime(index.year, index.month, index.day, tzinfo=UTC)
        self._from = {days: midnight - timedelta(days=days) for days in (730, 1096, 1826)}

    def decide(self, record: dict[str, list[Any]]) -> Verdicts:
        """The ten verdicts of one patient."""
        conditions, results = record["Condition"], record["Observation"]
        kidney = (
            self._latest(results, "33914-3", 1096, EGFR_UNITS, lambda value: value >= 60, "98979-8"),
            self._latest(results, "38483-4", 1096, ("mg/dL",), lambda value: value <= 1.5, "2160-0"),
        )
        return (
            self._age(record["Patient"][0]),
            self._condition(conditions, RISK, ("E11",), active=True),
            self._latest(results, "4548-4", 730, ("%",), lambda value: value >= 5.7),
            self._latest(results, "39156-5", 730, ("kg/m2",), lambda value: value >= 25),
            max(kidney),
            self._seen(record["Encounter"]),
            2 - self._insulin(record["MedicationRequest"]),
            2 - self._condition(conditions, {(SNOMED, "230690007")}, ("I63",), active=False, days=1826),
            2
            - self._condition(conditions, {(SNOMED, "72892002"), (ICD10CM, "Z33.1")}, ("O09",), active=True),
            2 - self._colonoscopy(record["Procedure"]),
        )

    def _age(self, patient: dict[str, Any]) -> int:
        text = patient.get("birthDate", "")
        if len(text) != 10:
            return UNKNOWN
        born = date.fromisoformat(text)
        had = (self._index.month, self._index.day) >= (born.month, born.day)
        return YES if 40 <= self._index.year - born.year - (not had) <= 85 else NO

    def _condition(
        self,
        conditions: list[Any],
        codes: set[tuple[str, str]],
        prefixes: tuple[str, ...],
        *,
        active: bool,
        days: int = 0,
    ) -> int:
        best = NO
        for condition in conditions:
            if best == YES:
                break
            if not _coded(condition.get("code"), codes, prefixes):
                continue
            if active and _word(condition, "clinicalStatus") not in ("active",):
                continue
            verification = _word(condition, "verificationStatus")
            if verification in ("refuted", "entered-in-error"):
                continue
            onset = _time(condition.get("onsetDateTime") or condition.get("recordedDate"))
            if onset is None:
                best = max(best, UNKNOWN if days else YES)
            elif onset <= self._last and (not days or onset >= self._from[days]):
                best = max(best, YES if verification == "confirmed" else UNKNOWN)
        return best

    def _latest(
        self,
        results: list[Any],
        code: str,
        days: int,
        units: tuple[str, ...],
        fits: Callable[[float], bool],
        other: str = "",
    ) -> int:
        newest, answers = self._from[days], set()
        for result in results:
            if not _coded(result.get("code"), {(LOINC, code), (LOINC, other)}, ()):
                continue
            if result.get("status") not in ("final", "amended", "corrected"):
                continue
            when = _time(result.get("effectiveDateTime"))
            if when is None or when < newest or when > self._last:
                continue
            if when > newest:
                newest, answers = when, set()
            quantity = result.get("valueQuantity") or {}
            known = "value" in quantity and quantity.get("code", quantity.get("unit")) in units
            answers.add((YES if fits(quantity["value"]) else NO) if known else UNKNOWN)
        return answers.pop() if len(answers) == 1 else UNKNOWN

    def _seen(self, encounters: list[Any]) -> int:
        count = 0
        for encounter in encounters:
            start = _time((encounter.get("period") or {}).get("start"))
            if encounter.get("status") == "finished" and start is not None:
                count += self._from[730] <= start <= self._last
        return YES if count >= 2 else NO

    def _insulin(self, requests: list[Any]) -> int:
        for request in requests:
            if request.get("status") == "active" and not request.get("doNotPerform"):
                authored = _time(request.get("authoredOn"))
                concept = request.get("medicationCodeableConcept")
                if _coded(concept, {(RXNORM, "106892")}, ()) and (authored is None or authored <= self._last):
                    return YES
        return NO

    def _colonoscopy(self, procedures: list[Any]) -> int:
        for procedure in procedures:
            if procedure.get("status") != "completed":
                continue
            if not _coded(procedure.get("code"), {(SNOMED, "73761001")}, ()):
                continue
            period = procedure.get("performedPeriod") or {}
            start = _time(procedure.get("performedDateTime") or period.get("start"))
            if start is not None and self._from[1096] <= start <= self._last:
                return YES
        return NO


def _coded(concept: Any, codes: set[tuple[str, str]], prefixes: tuple[str, ...]) -> bool:
    for coding in (concept or {}).get("coding", ()):
        system, code = coding.get("system"), coding.get("code", "")
        if (system, code) in codes or (prefixes and system == ICD10CM and code.startswith(prefixes)):
            return True
    return False


def _word(condition: dict[str, Any], name: str) -> str | None:
    codings = (condition.get(name) or {}).get("coding") or [{}]
    code: str | None = codings[0].get("code")
    return code


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


ENGINES = {"dicts": with_dicts, "closures": with_closures}


def measure(count: int) -> dict[str, Measured]:
    """Every engine over the same patients.

    Raises:
        SystemExit: two engines differ.
    """
    found = {}
    context = multiprocessing.get_context("spawn")
    for name, engine in ENGINES.items():
        with context.Pool(1) as process:
            found[name] = process.apply(engine, (count,))
    ours, plain = (found[name].verdicts for name in ("closures", "dicts"))
    if ours != plain:
        where = next(
            number for number, pair in enumerate(zip(ours, plain, strict=True)) if pair[0] != pair[1]
        )
        sys.exit(f"patient {where + 1}: closures {ours[where]}, dicts {plain[where]}; no time is shown")
    return found


def document(found: dict[str, Measured]) -> dict[str, Any]:
    """What ``--json`` prints."""
    base = found["dicts"].seconds
    rows = [
        {
            "engine": name,
            "patients": len(run.verdicts),
            "criteria": len(run.verdicts[0]),
            "seconds": round(run.seconds, 3),
            "speedup_over_dicts": round(base / run.seconds, 2),
            "peak_bytes": run.peak_bytes,
        }
        for name, run in found.items()
    ]
    return {"schema": "trialveil/screening-benchmark/1", "rows": rows}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--patients", type=int, default=PATIENTS, help="how many [default: %(default)s]")
    options = parser.parse_args()
    if options.patients < 1:
        parser.error("--patients is at least 1")
    made = document(measure(options.patients))
    if options.json:
        print(json.dumps(made, indent=2))
        return
    for row in made["rows"]:
        print(
            f"{row['engine']:>9}: {row['patients']} patients, {row['criteria']} criteria, "
            f"{row['seconds']:.2f} CPU s, "
            f"{row['speedup_over_dicts']:.2f} × the dict loop, peak {row['peak_bytes'] / 2**20:.0f} MiB"
        )


if __name__ == "__main__":
    # Child processes are given this path, too. With this folder in it, `ehr.py` and `secure_agg.py` beside this file
    # would be found as the packages of these names.
    place = Path(__file__).resolve().parent
    sys.path[:] = [str(place.parent), *(other for other in sys.path if Path(other).resolve() != place)]
    main()
