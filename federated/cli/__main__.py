"""``python -m federated.cli`` is the command `trialveil`."""

from federated.cli import main

main()
