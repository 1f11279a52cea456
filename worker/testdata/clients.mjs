// Real clients, each with automatic persisted queries, against two workers. Prints a
// line of JSON for each thing that they did: what they sent, and what they got.
import { createHash } from 'node:crypto';
import { ApolloClient, InMemoryCache, HttpLink, ApolloLink, gql } from '@apollo/client/core/index.js';
import { BatchHttpLink } from '@apollo/client/link/batch-http/index.js';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries/index.js';
import { Client, fetchExchange } from '@urql/core';
import { persistedExchange } from '@urql/exchange-persisted';

const [first, second, off] = process.env.URLS.split(' ');
const sha256 = (text) => createHash('sha256').update(text).digest('hex');

let sent = [];
const spy = async (url, options = {}) => {
  const text = options.method === 'GET' ? new URL(url).searchParams.get('query') : [].concat(JSON.parse(options.body))[0].query;
  const response = await fetch(url, options);
  sent.push(`${options.method || 'GET'} ${text ? 'text' : 'hash'} ${response.status}`);
  return response;
};
const report = async (what, run) => {
  sent = [];
  let got;
  try {
    got = await run();
  } catch (error) {
    got = String(error);
  }
  console.log(JSON.stringify({ what, sent, got }));
};

const apollo = (uri, links, http = HttpLink, more = {}) => new ApolloClient({
  cache: new InMemoryCache(),
  defaultOptions: { query: { fetchPolicy: 'no-cache', errorPolicy: 'all' } },
  link: ApolloLink.from([...links, new http({ uri, fetch: spy, ...more })]),
});
const ask = (client, query, variables) => async () => {
  const { data, error } = await client.query({ query, variables });
  return error ? error.message : data;
};
const persisted = (options) => new PersistedQueryLink({ sha256, ...options });
const document = (name) => gql(`query ${name}($id: ID!) { node(id: $id) { id } }`);

await report('apollo, unknown', ask(apollo(first, [persisted()]), document('A'), { id: 1 }));
await report('apollo, known to the other worker', ask(apollo(second, [persisted()]), document('A'), { id: 2 }));
const get = apollo(first, [persisted({ useGETForHashedQueries: true })]);
await report('apollo by GET, unknown', ask(get, document('B'), { id: 3 }));
await report('apollo by GET, known', ask(get, document('B'), { id: 4 }));
await report('apollo by GET, known to the other worker', ask(apollo(second, [persisted({ useGETForHashedQueries: true })]), document('B'), { id: 5 }));
await report('apollo as older ones ask', ask(apollo(first, [persisted()], HttpLink, { headers: { accept: '*/*' } }), document('C'), { id: 6 }));
const without = apollo(off, [persisted()]);
await report('apollo, not supported', ask(without, document('A'), { id: 7 }));
await report('apollo, which remembers it', ask(without, document('A'), { id: 8 }));
await report('apollo, an error in a field', ask(apollo(first, []), gql('{ fail(how: CODED) }')));
await report('apollo, no such field', ask(apollo(first, []), gql('{ nope }')));
await report('apollo, no such field, as older ones ask', ask(apollo(first, [], HttpLink, { headers: { accept: '*/*' } }), gql('{ nope }')));
const batching = apollo(first, [], BatchHttpLink, { batchMax: 2 });
await report('apollo, a batch', () => Promise.all([ask(batching, gql('{ hello }'))(), ask(batching, gql('{ nope }'))()]));
const both = apollo(first, [persisted()], BatchHttpLink, { batchMax: 2 });
await report('apollo, a batch of hashes', () => Promise.all([ask(both, document('D'), { id: 9 })(), ask(both, document('E'), { id: 10 })()]));

const urql = (url, options) => new Client({ url, fetch: spy, fetchOptions: { headers: { 'apollo-require-preflight': 'true' } }, exchanges: [persistedExchange(options), fetchExchange], requestPolicy: 'network-only' });
const query = (client, name, id) => async () => {
  const { data, error } = await client.query(`query ${name}($id: ID!) { node(id: $id) { id } }`, { id }).toPromise();
  return error ? error.message : data;
};
await report('urql, unknown', query(urql(first), 'F', 11));
await report('urql, known to the other worker', query(urql(second), 'F', 12));
await report('urql by POST', query(urql(first, { preferGetForPersistedQueries: false }), 'G', 13));
await report('urql, not supported', query(urql(off), 'F', 14));
process.exit(0);
