// Runs the audits of graphql-http against $URL, and prints a line of JSON for each.
import { auditServer } from 'graphql-http';

for (const { id, name, status, reason, response } of await auditServer({ url: process.env.URL })) {
  console.log(JSON.stringify({ id, name, status, reason, body: response && !response.bodyUsed ? await response.text() : undefined }));
}
process.exit(0);
