// The page of the gateway: the elements of smelt-js, a session, and the history of the user.
import { connectSmelt, SmeltError, toSrt, toVtt } from '/smelt-js/index.js'
import { setDefaultClient } from '/smelt-js/elements.js'
import { Account } from '/page/account.js'
import { Session } from '/page/session.js'

const LANGUAGES = 'ar cs da de el en es fi fr he hi hu id it ja ko nl no pl pt ro ru sk sv th tr uk vi zh'
const TITLE = 'smelt'
/** Titles and sentences for errors that end a watch. */
const GONE = {
  not_found: ['This transcription is gone', 'It was deleted, or it belongs to another account.'],
  token_expired: ['This link has expired', 'Links for reading are valid for a short time. Ask for a new one.'],
  unauthorized: ['This link is not valid', 'A part of it may be missing.'],
  not_allowed: ['This link is not valid', 'It is for another transcription.'],
}
const READING = 'You are reading a shared transcription. The link to it expires after a short time.'
const EXPIRED = 'This link has expired, and the state below is not updated. Ask for a new link.'

const $ = (id) => document.getElementById(id)
const [upload, progress, transcript, result] = ['upload', 'progress', 'transcript', 'result'].map((name) =>
  document.querySelector(`smelt-${name}`),
)
const tabs = [...document.querySelectorAll('[role=tab]')]

/** Recordings that this page has uploaded, by the id of their smelt: they can be played. @type {Map<string, File[]>} */
const recordings = new Map()
const played = { url: '', file: null }

/** The read-only token of a shared link, in the fragment: browsers do not send it, so that it is in no log. */
const readToken = new URLSearchParams(location.hash.slice(1)).get('token')
const config = await settings()
const session = new Session(config)
let client
let account
let currentId = null
/** The tab that was selected by hand, for the shown smelt. */
let chosenTab = null
let stopWatching = () => {}

// Sessions: every user has a client of its own.

function connect() {
  if (readToken) return connectReader()
  account?.end()
  client = connectSmelt({ gateway: location.origin, token: () => session.token() })
  // Creation needs a user; an anonymous one is enough.
  const create = async (request) => {
    if (!session.user) await signInAnonymously()
    const onCreated = (created) => {
      recordings.set(created.id, [...(request.files ?? [])])
      request.onCreated?.(created)
    }
    const { mode, ...rest } = request
    return client.create({ ...rest, ...(request.files?.length > 1 && { mode }), onCreated })
  }
  setDefaultClient(client)
  upload.client = { create, job: (id) => client.job(id), cancel: (id) => client.cancel(id) }
  account = new Account(client, session, { currentId: () => currentId })
}

/** Read the smelt of a shared link, as nobody: an account that is signed in here has nothing to do with it. */
function connectReader() {
  client = connectSmelt({ gateway: location.origin, readToken })
  setDefaultClient(client)
  progress.toggleAttribute('readonly', true)
}

async function signInAnonymously() {
  isKept = true // The page goes on with what it is doing.
  try {
    await session.signInAnonymously()
  } catch (error) {
    openSignIn()
    throw new SmeltError('sign_in_required', error.status ? 'Sign in first.' : error.message, { transient: true })
  } finally {
    isKept = false
  }
}

let isKept = false
session.onChange(() => {
  if (readToken) return
  $('account').textContent = accountName()
  if (isKept) return account.start()
  connect()
  show(currentId)
})

const accountName = () => (session.user ? session.user.email || 'Without an account' : 'Sign in')

async function settings() {
  for (;;) {
    try {
      return await (await fetch('/config.json', { signal: AbortSignal.timeout(10_000) })).json()
    } catch {
      notify('The gateway does not respond. The page tries again by itself.')
      await new Promise((resolve) => setTimeout(resolve, 3000))
      notify('')
    }
  }
}

function notify(text) {
  $('notice').textContent = text
  $('notice').hidden = !text
}

// The shown smelt: its id is part of the address, so that a reload shows it again.

function show(id, { focus = false } = {}) {
  stopWatching()
  currentId = id
  chosenTab = null
  for (const element of [progress, transcript, result]) element.smeltId = id
  $('start').hidden = !!id
  $('gone').hidden = true
  $('work').hidden = !id
  $('kept').hidden = $('no-worker').hidden = $('shared').hidden = true
  transcript.toggleAttribute('playable', !!recordings.get(id)?.length)
  stopPlaying()
  document.title = TITLE
  account?.mark(id)
  if (!id) return
  const job = client.job(id)
  const update = () => onView(job.getSnapshot())
  stopWatching = job.subscribe(update)
  update()
  if (focus) $('work-title').focus()
}

function navigate(id) {
  history.pushState(null, '', id ? `/?id=${encodeURIComponent(id)}` : '/')
  show(id, { focus: true })
}

function onView(view) {
  const hasText = Object.values(view.segments).some(({ length }) => length)
  const code = view.completed_at ? null : view.error?.code
  const gone = readToken || code === 'not_found' ? GONE[code] : undefined
  // After an expiry, the text so far stays.
  const isGone = !!gone && !(hasText && code === 'token_expired')
  showGone(isGone ? gone : null)
  showReading(!!gone)
  const name = nameOf(view.files)
  $('work-title').firstElementChild.textContent = name
  document.title = titleOf(view, isGone, name)
  $('no-worker').hidden = !!gone || !!readToken || !!view.completed_at || view.connection.worker !== false
  $('again').hidden = !view.completed_at && !readToken
  $('share').hidden = isGone || !!readToken || !config.read_tokens
  showRetry(view)
  const hasNotes = !!view.results || view.outputs.length > 0
  const tab = chosenTab ?? 'notes'
  showTab(tab === 'notes' && !hasNotes ? 'transcript' : tab)
  $('tab-notes').hidden = !hasNotes
  $('views').hidden = !hasNotes && !hasText && (view.status === 'pending' || !!view.completed_at)
  $('transcript-actions').hidden = !hasText
  showPlayer(hasText)
  showCaptions(view)
  const state = `${view.status} ${view.run}`
  if (!account) return
  if (state !== account.seenState) account.refresh()
  account.seenState = state
}

function showGone(gone) {
  $('work').hidden = !!gone
  $('gone').hidden = !gone
  for (const [n, id] of ['gone-title', 'gone-text'].entries()) $(id).textContent = gone?.[n] ?? ''
}

function showReading(isExpired) {
  progress.hidden = isExpired
  $('reading').hidden = !readToken
  $('reading').textContent = isExpired ? EXPIRED : READING
}

function titleOf({ status, progress, error, outcome, completed_at }, isGone, name) {
  if (isGone) return `Gone · ${TITLE}`
  if (error && completed_at) return `${error.code === 'cancelled' ? 'Cancelled' : 'Failed'} · ${name} · ${TITLE}`
  if (status === 'completed') return `${outcome === 'partial' ? 'Partly done' : 'Done'} · ${name} · ${TITLE}`
  return `${Math.round(progress?.percentage ?? 0)} % · ${name} · ${TITLE}`
}

const nameOf = (files) => {
  const [first = 'Transcription', ...others] = files.map(({ filename }) => filename).filter(Boolean)
  return others.length ? `${first} and ${others.length} more` : first
}

/** After a cancellation or a failure: whether it can be tried again, and which transcripts were kept. */
function showRetry({ error, completed_at, submitted_at, segments, files }) {
  $('again').textContent = submitted_at === null ? 'Upload again' : 'New transcription'
  const kept = files.filter(({ id }) => segments[id]?.length)
  const sentences = [`The transcript so far of ${nameOf(kept)} was kept.`, '“Try again” goes on from there.']
  $('kept').textContent = sentences.slice(0, readToken ? 1 : 2).join(' ')
  $('kept').hidden = !(error && completed_at && kept.length)
}

// Tabs

function showTab(name) {
  for (const tab of tabs) {
    const isSelected = tab.id === `tab-${name}`
    tab.setAttribute('aria-selected', `${isSelected}`)
    tab.tabIndex = isSelected ? 0 : -1
    $(tab.getAttribute('aria-controls')).hidden = !isSelected
  }
}

for (const tab of tabs) {
  const name = tab.getAttribute('aria-controls')
  const choose = () => (chosenTab = name)
  // A panel in which a search or a time has the focus is not replaced by the first notes.
  $(name).addEventListener('focusin', choose)
  tab.addEventListener('click', () => {
    choose()
    showTab(name)
  })
  tab.addEventListener('keydown', ({ key }) => {
    const shown = tabs.filter(({ hidden }) => !hidden)
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key]
    if (!step) return
    const next = shown[(shown.indexOf(tab) + step + shown.length) % shown.length]
    next.click()
    next.focus()
  })
}

// Transcript: copy, downloads, and the local recording

const plainText = ({ files, segments }) =>
  files.flatMap(({ id }) => (segments[id] ?? []).map(({ text }) => text.trim())).join('\n')
const view = () => client.job(currentId).getSnapshot()

function save(filename, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }))
  const link = document.createElement('a')
  link.href = url
  link.download = filename.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}/\\:*?"<>|]/gu, '_')
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

function action(parent, label, onClick) {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = label
  button.addEventListener('click', () => onClick(button))
  parent.append(button)
}

async function copy(button, text) {
  const label = button.textContent
  await navigator.clipboard.writeText(text)
  button.textContent = 'Copied'
  setTimeout(() => (button.textContent = label), 2000)
}

const stem = (filename) => filename.replace(/\.[^.]{1,5}$/, '')
if (navigator.clipboard)
  action($('transcript-actions'), 'Copy transcript', (button) => copy(button, plainText(view())))
action($('transcript-actions'), 'Download text', () =>
  save(`${stem(nameOf(view().files))}.txt`, plainText(view()), 'text/plain'),
)

function showPlayer(hasText) {
  const files = hasText && recordings.get(currentId)
  $('player').hidden = !files?.length
  if (files?.length && !played.file) load(files[0])
}

function load(file) {
  if (played.file === file) return
  stopPlaying()
  played.file = file
  played.url = URL.createObjectURL(file)
  $('player').querySelector('audio').src = played.url
}

function stopPlaying() {
  const audio = $('player').querySelector('audio')
  audio.pause()
  audio.removeAttribute('src')
  URL.revokeObjectURL(played.url)
  Object.assign(played, { file: null, url: '' })
}

transcript.addEventListener('smelt-seek', ({ detail: { file_id, start } }) => {
  const file = recordings.get(currentId)?.[view().files.findIndex(({ id }) => id === file_id)]
  if (!file) return
  load(file)
  const audio = $('player').querySelector('audio')
  audio.currentTime = start
  audio.play().catch(() => {}) // The browser may not know the format.
})

// Sharing: a link with a read-only token

$('share').addEventListener('click', async () => {
  const id = currentId
  const [text, link] = await readingLink(id).catch((error) => [error.message, ''])
  if (id !== currentId) return
  $('shared').hidden = false
  $('shared-link').hidden = !link
  $('shared-link').value = link
  const isCopied = link && (await navigator.clipboard?.writeText(link).then(() => true, () => false))
  if (link && !isCopied) {
    $('shared-link').focus()
    $('shared-link').select()
  }
  $('shared-text').textContent = `${isCopied ? 'The link was copied. ' : ''}${text}`
})

/** Return a sentence about a new link that lets others read a smelt, and the link. */
async function readingLink(id) {
  const token = await session.token()
  const response = await fetch(`/api/smelts/${encodeURIComponent(id)}/token`, {
    method: 'POST',
    headers: token ? { authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(10_000),
  }).catch(() => {
    throw new Error('The gateway does not respond. Try again.')
  })
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new Error(answer.error ?? 'No link could be made. Try again.')
  // The clock of this machine may differ from that of the gateway.
  const minutes = Math.round((Date.parse(answer.expires_at) - Date.parse(response.headers.get('date'))) / 60_000)
  const link = `${location.origin}/?id=${encodeURIComponent(id)}#token=${encodeURIComponent(answer.token)}`
  return [`Everyone with the link can read this transcription for ${minutes} minutes, without signing in.`, link]
}

// Captions

const formats = { srt: toSrt, vtt: toVtt }
const captionsOf = ({ segments }) => formats[$('captions-format').value](segments[$('captions-file').value] ?? [])

function showCaptions(shown) {
  const select = $('captions-file')
  const files = shown.files.filter(({ id, input_type }) => input_type !== 'text' && shown.segments[id]?.length)
  if ([...select.options].map(({ value }) => value).join() !== files.map(({ id }) => id).join())
    select.replaceChildren(...files.map(({ id, filename = '' }) => new Option(filename, id)))
  select.parentElement.hidden = files.length < 2
  $('tab-captions').hidden = !files.length
  if (!$('captions').hidden) $('captions-text').textContent = captionsOf(shown)
}

for (const id of ['captions-file', 'captions-format'])
  $(id).addEventListener('change', () => showCaptions(view()))
$('tab-captions').addEventListener('click', () => showCaptions(view()))
if (navigator.clipboard)
  action($('captions-actions'), 'Copy captions', (button) => copy(button, captionsOf(view())))
action($('captions-actions'), 'Download', () => {
  const format = $('captions-format').value
  const { filename = 'captions' } = view().files.find(({ id }) => id === $('captions-file').value) ?? {}
  save(`${stem(filename)}.${format}`, captionsOf(view()), format === 'vtt' ? 'text/vtt' : 'application/x-subrip')
})

// Options, files and texts

const names = new Intl.DisplayNames(['en'], { type: 'language' })
const languages = LANGUAGES.split(' ').map((code) => new Option(names.of(code), code))
languages.sort((a, b) => a.text.localeCompare(b.text))
$('language').append(new Option('Detect', ''), ...languages)

function request() {
  const prompts = [...document.querySelectorAll('[name=prompt]:checked')].map(({ value }) => value)
  const vocabulary = $('vocabulary').value.split(',').map((term) => term.trim()).filter(Boolean)
  const options = {
    ...($('language').value && { language: $('language').value }),
    ...($('translate').checked && { task: 'translate' }),
    ...(vocabulary.length && { vocabulary }),
  }
  return { prompts, options, ...($('combine').checked && { mode: 'combine' }) }
}
Object.defineProperty(upload, 'request', { get: request, set() {} })

addEventListener('smelt-submitted', ({ detail: { job } }) => navigate(job.id))

addEventListener('paste', (event) => {
  if ($('start').hidden || event.composedPath().some(({ localName }) => ['input', 'textarea'].includes(localName)))
    return
  const { files } = event.clipboardData
  const text = event.clipboardData.getData('text/plain').trim()
  if (!files.length && !text) return
  event.preventDefault()
  if (files.length) return upload.upload(files)
  $('text').open = true
  $('text-input').value = text
  $('text-input').focus()
})

$('text-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  const button = event.submitter ?? $('text-form').querySelector('button')
  button.disabled = true
  $('text-error').hidden = true
  try {
    const { prompts } = request()
    const { user } = session
    const job = await upload.client.create({ text: $('text-input').value, prompts })
    $('text-input').value = ''
    if (!user || session.user?.id === user.id) navigate(job.id) // Unless another user, or nobody, is signed in now.
  } catch (error) {
    $('text-error').textContent = error.message
    $('text-error').hidden = false
  } finally {
    button.disabled = false
  }
})

// Addresses

const idOfAddress = () => new URLSearchParams(location.search).get('id')
addEventListener('popstate', () => show(idOfAddress()))
addEventListener('hashchange', () => location.reload()) // Another token is another page.
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="/"]')
  if (readToken || !link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return
  event.preventDefault()
  account.closeNotifications()
  navigate(new URL(link.href).searchParams.get('id'))
})

// Account

function openSignIn() {
  $('sign-in-error').hidden = true
  $('sign-in').showModal()
}

$('account').addEventListener('click', () => {
  if (!session.user || session.user.is_anonymous) return openSignIn()
  $('profile-text').textContent = `Signed in as ${session.user.email}.`
  $('profile').showModal()
})
$('sign-out').addEventListener('click', async () => {
  $('profile').close()
  if (upload.hasAttribute('uploading')) upload.cancel() // Its end would show the smelt to a visitor.
  navigate(null) // Before the session ends: a visitor may not read what is shown.
  await session.signOut()
})
$('close').addEventListener('click', () => $('sign-in').close())
$('profile-close').addEventListener('click', () => $('profile').close())
$('anonymous').addEventListener('click', () =>
  attemptSignIn($('anonymous'), () => session.user ?? session.signInAnonymously()),
)
$('sign-in-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const signs = event.submitter?.value === 'sign-up' ? 'signUp' : 'signIn'
  attemptSignIn(event.submitter, () => session[signs]($('email').value, $('password').value))
})

async function attemptSignIn(button, sign) {
  button.disabled = true
  try {
    await sign()
    $('password').value = ''
    $('sign-in').close()
  } catch (error) {
    $('sign-in-error').textContent = error.message
    $('sign-in-error').hidden = false
  } finally {
    button.disabled = false
  }
}

$('account').textContent = accountName()
$('account').hidden = !!readToken
connect()
show(idOfAddress())
document.documentElement.toggleAttribute('data-ready', true)
