import { DOC_EXPLORER_PLUGIN, DocExplorer } from '@graphiql/plugin-doc-explorer'
import { useSchemaStore } from '@graphiql/react'
import { GraphiQL } from 'graphiql'
import 'graphiql/style.css'
import { createRoot } from 'react-dom/client'
import './page.css'

// What any schema answers, and a server without introspection, too.
const defaultQuery = `# Ctrl-Enter runs this, Ctrl-Space completes.
# The book on the left shows the schema.
# Who you are goes under Headers, as
# {"Authorization": "Bearer …"}: it is
# forgotten with the page.

query {
  __typename
}
`

// The page's own URL is where GraphQL is, whatever a proxy has made of it.
async function fetcher(request, { headers } = {}) {
  const response = await fetch(location.pathname, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Accept: 'application/graphql-response+json, application/json;q=0.9',
      ...headers,
    },
    body: JSON.stringify(request),
  })
  const text = await response.text()
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`no JSON, but ${response.status} ${response.statusText}: ${text.slice(0, 1000)}`)
  }
}

// The explorer itself says no more than that there was an error.
function Docs() {
  const { fetchError } = useSchemaStore()
  if (!fetchError) {
    return <DocExplorer />
  }
  return (
    <section className="graphiql-doc-explorer" aria-label="Documentation Explorer">
      <div className="graphiql-doc-explorer-title">Docs</div>
      <div className="graphiql-doc-explorer-content">
        <p>The server does not show its schema, and nothing can be completed. Queries run all the same.</p>
        <p>
          Where only some may see it: put Authorization under Headers, then press the round arrow at the bottom left.
        </p>
        <pre>{reason(fetchError)}</pre>
      </div>
    </section>
  )
}

// reason is the server's own words.
function reason(fetchError) {
  try {
    return JSON.parse(fetchError).errors.map((e) => e.message).join('\n')
  } catch {
    return fetchError
  }
}

// The browser's storage, but for headers: GraphiQL's history keeps them with each
// query, though it is told not to persist any.
const storage = {
  getItem: (key) => localStorage.getItem(key),
  setItem(key, value) {
    if (key === 'graphiql:queries' || key === 'graphiql:favorites') {
      value = JSON.stringify(JSON.parse(value), (name, v) => (name === 'headers' ? undefined : v))
    }
    localStorage.setItem(key, value)
  },
  removeItem: (key) => localStorage.removeItem(key),
  get length() {
    return own().length
  },
  clear: () => own().forEach((key) => localStorage.removeItem(key)),
}

function own() {
  return Object.keys(localStorage).filter((key) => key.startsWith('graphiql:'))
}

// Changed in place, because its icon looks whether it is this object that is shown.
DOC_EXPLORER_PLUGIN.content = Docs

const root = document.createElement('div')
root.id = 'graphiql'
document.body.append(root)
createRoot(root).render(
  <GraphiQL
    fetcher={fetcher}
    defaultQuery={defaultQuery}
    inputValueDeprecation
    schemaDescription
    storage={storage}
    shouldPersistHeaders={false}
  />,
)
