// A service behind Gatehouse's edge, with nothing but what Node.js (18 or newer) brings: reports that an organization
// shares, kept in memory. README.md, "Your own service behind the edge", puts it there.
//
// The edge has checked who calls and what they may do, has counted the call, and says so in headers. Only the edge knows
// REPORTS_KEY: whoever sends it is the edge, and its headers can be believed.

import { createHash, randomUUID, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'

const { REPORTS_KEY, PORT = '9000' } = process.env
if (!REPORTS_KEY) throw new Error('REPORTS_KEY is not set')

const BODY_BYTES_MAX = 64 * 1024
const reports = new Map() // by organization
const readers = new Map() // answers that stay open, by organization

class Refused extends Error {
  constructor(status, name, message) {
    super(message)
    this.body = { success: false, error: name, message, statusCode: status }
  }
}

const digest = (text) => createHash('sha256').update(text).digest()
const EXPECTED = digest(`ApiKey ${REPORTS_KEY}`)

function callerOf({ headers }) {
  if (!timingSafeEqual(digest(headers.authorization ?? ''), EXPECTED)) {
    throw new Refused(401, 'Unauthorized', 'Only the edge may call this service')
  }
  return {
    user: headers['x-gatehouse-user'] ?? null, // absent for a key that belongs to an organization alone
    organization: headers['x-gatehouse-org'],
    role: headers['x-gatehouse-role'],
    tier: headers['x-gatehouse-tier'],
    permissions: (headers['x-gatehouse-permissions'] ?? '').split(' '),
  }
}

function require(caller, resource, action) {
  const held = [`${resource}:${action}`, `*:${action}`]
  if (!held.some((permission) => caller.permissions.includes(permission))) {
    throw new Refused(403, 'Forbidden', `This needs ${held[0]}`)
  }
}

async function read(request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Refused(413, 'PayloadTooLarge', 'The body is too large')
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    throw new Refused(400, 'BadRequest', 'The body is no JSON')
  }
}

function answer(response, status, body, template) {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...(template && { 'X-Gatehouse-Route': template }), // metrics count by it; the edge keeps it to itself
  })
  response.end(text)
}

function list(caller, response) {
  const data = { caller, items: reports.get(caller.organization) ?? [] }
  answer(response, 200, { success: true, data }, '/api/v1/reports')
}

async function create(caller, request, response) {
  require(caller, 'reports', 'write')
  const title = (await read(request))?.title
  if (typeof title !== 'string' || !title.trim()) throw new Refused(422, 'ValidationError', 'A report needs a title')
  const report = { id: randomUUID(), title, user: caller.user }
  reports.set(caller.organization, [...(reports.get(caller.organization) ?? []), report])
  for (const reader of readers.get(caller.organization) ?? []) reader.write(event(report))
  answer(response, 201, { success: true, data: report }, '/api/v1/reports')
}

const event = (report) => `event: report\ndata: ${JSON.stringify(report)}\n\n`

function follow(caller, response) {
  const { organization } = caller
  if (!readers.has(organization)) readers.set(organization, new Set())
  readers.get(organization).add(response)
  response.on('close', () => readers.get(organization).delete(response))
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  response.write(': follow\n\n')
}

async function serve(request, response) {
  const path = new URL(request.url, 'http://service').pathname
  if (path === '/health') return answer(response, 200, { status: 'ok' })
  const caller = callerOf(request)
  const what = `${request.method} ${path}`
  if (what === 'GET /api/v1/reports') return list(caller, response)
  if (what === 'POST /api/v1/reports') return create(caller, request, response)
  if (what === 'GET /api/v1/reports/live') return follow(caller, response)
  throw new Refused(404, 'NotFound', 'There is no such report')
}

const server = createServer((request, response) => {
  serve(request, response).catch((error) => {
    if (!(error instanceof Refused)) console.error(request.headers['x-request-id'], error)
    const { body } = error instanceof Refused ? error : new Refused(500, 'InternalServerError', 'Something went wrong')
    if (response.headersSent) return response.destroy()
    answer(response, body.statusCode, body)
  })
})
// Longer than the edge keeps a connection that is not used, so that it is never closed under a request on its way.
server.keepAliveTimeout = 75_000
server.listen(Number(PORT), '127.0.0.1', () => console.log(`reports: http://127.0.0.1:${server.address().port}`))
