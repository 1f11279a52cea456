// Runs the audits of graphql-http against $URL, and prints a line of JSON for each.
import { auditServer } from 'graphql-http';

// The audits' GETs are such as a page of another site can make a browser send.
const fetchFn = (url, { headers, ...init } = {}) => fetch(url, { ...init, headers: { 'apollo-require-preflight': 'true', ...headers } });

for (const { id, name, status, reason, response } of await auditServer({ url: process.env.URL, fetchFn })) {
  console.log(JSON.stringify({ id, name, status, reason, body: response && !response.bodyUsed ? await response.text() : undefined }));
}
process.exit(0);
