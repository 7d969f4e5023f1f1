// What the page does by itself: it shows what it is told, and times in the zone of who looks. What it is told are pieces of the
// page, made and escaped by the server.
const list = document.getElementById('requests')
const live = document.getElementById('live')
const pause = document.getElementById('pause')
const filter = document.getElementById('filter')
const none = document.getElementById('no-requests')
const MAX_REQUESTS = 100
let isPaused = false
/** What has come while the page stands still. */
let held = new Map()

function localTimes(root) {
  for (const time of root.querySelectorAll('time')) {
    const date = new Date(time.dateTime)
    time.textContent = date.toLocaleTimeString()
    time.title = date.toLocaleString()
  }
}

function applyFilter(item) {
  item.hidden = !item.dataset.text.includes(filter.value.trim().toLowerCase())
}

function showRequest(id, html) {
  const template = document.createElement('template')
  template.innerHTML = html
  const item = template.content.firstElementChild
  localTimes(item)
  applyFilter(item)
  const old = document.getElementById(`request-${id}`)
  if (old === null) {
    list.prepend(item)
    while (list.children.length > MAX_REQUESTS) list.lastElementChild.remove()
  } else {
    const isOpen = old.querySelector('details').open
    const hasFocus = old.contains(document.activeElement)
    item.querySelector('details').open = isOpen
    old.replaceWith(item)
    if (hasFocus) item.querySelector('summary').focus()
  }
  none.hidden = true
}

function showSection(name, html) {
  const section = document.getElementById(name)
  section.innerHTML = html
  localTimes(section)
}

function show({ section, request, html }) {
  if (section === undefined) showRequest(request, html)
  else showSection(section, html)
}

function told(text) {
  if (live.textContent !== text) live.textContent = text
}

pause.hidden = false
pause.addEventListener('click', () => {
  isPaused = !isPaused
  pause.setAttribute('aria-pressed', String(isPaused))
  document.body.classList.toggle('paused', isPaused)
  told(isPaused ? 'paused' : 'live')
  if (isPaused) return
  for (const update of held.values()) show(update)
  held = new Map()
})

document.getElementById('filter-box').hidden = false
filter.addEventListener('input', () => {
  for (const item of list.children) applyFilter(item)
})

localTimes(document)
none.hidden = list.children.length > 0
told('connecting')
const events = new EventSource(document.body.dataset.events)
events.addEventListener('open', () => {
  document.body.classList.add('live')
  told(isPaused ? 'paused' : 'live')
})
events.addEventListener('error', () => {
  document.body.classList.remove('live')
  told(events.readyState === EventSource.CLOSED ? 'not connected; load the page again' : 'connecting again')
})
events.addEventListener('message', ({ data }) => {
  const update = JSON.parse(data)
  if (!isPaused) {
    show(update)
    return
  }
  if (update.request !== undefined) told('paused; there are new requests')
  held.delete(update.section ?? update.request)
  held.set(update.section ?? update.request, update)
  if (held.size > MAX_REQUESTS + 10) held.delete(held.keys().next().value)
})
// The server has all of what is missed: a page that comes back from sleep is loaded again.
window.addEventListener('pageshow', ({ persisted }) => {
  if (persisted) location.reload()
})
