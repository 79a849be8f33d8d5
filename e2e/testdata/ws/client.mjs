// Tries what WebSocket has through the balancer at argv[2], and prints what it found as JSON.
import WebSocket from 'ws'

const base = process.argv[2]
const found = []

function socket(room, options) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`${base}/rooms/${room}`, options)
    ws.on('open', () => resolve(ws))
    ws.on('error', reject)
  })
}
const once = (ws, event) => new Promise(resolve => ws.once(event, (...args) => resolve(args)))

async function attempt(name, f) {
  try {
    const got = await f()
    found.push({ name, ok: got === true, got: String(got) })
  } catch (err) {
    found.push({ name, ok: false, got: String(err) })
  }
}

async function echo(room, bytes, options) {
  const ws = await socket(room, options)
  const back = once(ws, 'message')
  ws.send(bytes)
  const [got, binary] = await back
  ws.close()
  return (binary && bytes.equals(got)) || `${got.length} bytes, binary ${binary}`
}

await attempt('text', async () => {
  const ws = await socket('text')
  const back = once(ws, 'message')
  ws.send('grüße, 世界')
  const [got, binary] = await back
  ws.close()
  return (!binary && got.toString() === 'grüße, 世界') || got
})
await attempt('binary', () => echo('binary', Buffer.from(Array.from({ length: 256 }, (_, i) => i))))
await attempt('1 MiB', () => echo('big', Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => i * 7 + (i >> 8))), { perMessageDeflate: false }))
await attempt('compressed', async () => {
  const ws = await socket('compressed', { perMessageDeflate: { threshold: 0 } })
  if (!ws.extensions.includes('permessage-deflate')) return 'extensions: ' + ws.extensions
  const text = 'again and again '.repeat(1000)
  const back = once(ws, 'message')
  ws.send(text)
  const [got] = await back
  ws.close()
  return got.toString() === text || got.length + ' bytes'
})
await attempt('ping', async () => {
  const ws = await socket('ping')
  const pong = once(ws, 'pong')
  ws.ping('are you there')
  const [got] = await pong
  ws.close()
  return got.toString() === 'are you there' || got
})
await attempt('node closes', async () => {
  const ws = await socket('node-closes')
  const end = once(ws, 'close')
  ws.send('close 4002 away')
  const [code, reason] = await end
  return (code === 4002 && reason.toString() === 'away') || `${code} ${reason}`
})
await attempt('client closes', async () => {
  const ws = await socket('client-closes')
  const end = once(ws, 'close')
  ws.close(4001, 'enough')
  const [code] = await end
  return code === 4001 || code
})
console.log(JSON.stringify(found))
