// An authorization server that nobody here wrote (oidc-provider, from its own folder), with a FHIR base that takes
// its tokens. argv: folder of node_modules, port, JWKS of the client with keys (JSON). Loopback only.
import { pathToFileURL } from 'node:url';

const [modules, port, jwks] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
const issuer = `http://127.0.0.1:${port}`;
const kinds = ['Patient', 'Condition', 'Observation'];
const scopes = ['openid', 'offline_access', ...kinds.map((kind) => `user/${kind}.read`)];
const native = {
  application_type: 'native', redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'],
};
const provider = new Provider(issuer, {
  clients: [
    { ...native, client_id: 'my-app', token_endpoint_auth_method: 'none' },
    { ...native, client_id: 'secret-app', client_secret: 's3cret: with%odd+signs' },
    {
      client_id: 'pod', token_endpoint_auth_method: 'private_key_jwt', jwks: JSON.parse(jwks),
      grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
    },
  ],
  scopes,
  clientDefaults: { token_endpoint_auth_signing_alg: undefined },
  features: { clientCredentials: { enabled: true }, revocation: { enabled: true }, devInteractions: { enabled: false } },
  pkce: { required: () => true },
  ttl: { AccessToken: 600, ClientCredentials: 300, AuthorizationCode: 60, RefreshToken: 3600, Grant: 3600, Session: 600, Interaction: 60 },
  rotateRefreshToken: true,
  issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  enabledJWA: {
    clientAuthSigningAlgValues: ['RS384', 'ES384'],
  },
});

async function agree(ctx) {
  const { prompt, params, grantId, session } = await provider.interactionDetails(ctx.req, ctx.res);
  if (prompt.name === 'login') {
    return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: 'coordinator' } });
  }
  const grant = (grantId && (await provider.Grant.find(grantId)))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
  return provider.interactionFinished(ctx.req, ctx.res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

async function fhir(ctx) {
  const path = ctx.path.slice('/fhir/'.length);
  ctx.type = 'application/fhir+json';
  if (path === '.well-known/smart-configuration') {
    ctx.body = JSON.stringify({
      issuer, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token`,
      revocation_endpoint: `${issuer}/token/revocation`, authorization_response_iss_parameter_supported: true,
      token_endpoint_auth_methods_supported: ['none', 'client_secret_basic', 'private_key_jwt'],
      code_challenge_methods_supported: ['S256'], capabilities: ['launch-standalone', 'permission-v1'],
    });
    return;
  }
  if (path === 'metadata') {
    const resource = kinds.map((type) => ({ type, interaction: [{ code: 'read' }, { code: 'search-type' }] }));
    ctx.body = JSON.stringify({ resourceType: 'CapabilityStatement', fhirVersion: '4.0.1', rest: [{ mode: 'server', resource }] });
    return;
  }
  const value = (ctx.get('authorization').match(/^Bearer (.+)$/) || [])[1];
  const token = value && ((await provider.AccessToken.find(value)) || (await provider.ClientCredentials.find(value)));
  if (!token || token.isExpired) { ctx.status = 401; ctx.body = '{"resourceType": "OperationOutcome", "issue": []}'; return; }
  ctx.body = path === 'Patient/ana'
    ? JSON.stringify({ resourceType: 'Patient', id: 'ana', birthDate: '1950-02-03' })
    : JSON.stringify({ resourceType: 'Bundle', type: 'searchset', entry: [] });
}

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/interaction/')) return agree(ctx);
  if (ctx.path.startsWith('/fhir/')) return fhir(ctx);
  return next();
});
// What went wrong inside, for the test's own log; nothing of a request is in it but the error's name.
for (const event of ['grant.error', 'authorization.error', 'server_error']) {
  provider.on(event, (ctx, error) => console.log(event, error.error || error.name, error.error_detail || ''));
}
for (const event of ['grant.success', 'refresh_token.consumed', 'grant.revoked']) provider.on(event, () => console.log(event));
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
