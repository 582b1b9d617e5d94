// Tests of auth-js, from sign-up to sign-out.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { connect, signUp, dataOf, until } from './app.mjs'

const PASSWORD = 'correct horse'
const address = () => `${crypto.randomUUID()}@example.com`
const claims = (session) => JSON.parse(Buffer.from(session.access_token.split('.')[1], 'base64url'))

describe('auth-js', { concurrency: true }, () => {
  test('sign-up returns a session, and the password signs in again', async () => {
    const email = address()
    const first = connect()
    const { user, session } = await dataOf(first.auth.signUp({ email, password: PASSWORD, options: { data: { nick: 'x' } } }))
    assert.deepEqual([user.email, user.user_metadata.nick], [email, 'x'])
    assert.deepEqual([claims(session).sub, claims(session).role], [user.id, 'authenticated'])
    const second = connect()
    const wrong = await second.auth.signInWithPassword({ email, password: 'wrong' })
    assert.deepEqual([wrong.error.status, wrong.error.code], [400, 'invalid_credentials'])
    await dataOf(second.auth.signInWithPassword({ email, password: PASSWORD }))
    assert.equal((await dataOf(second.auth.getUser())).user.id, user.id)
    const again = await connect().auth.signUp({ email, password: PASSWORD })
    assert.equal(again.error.code, 'user_already_exists')
  })

  test('refresh returns a new token, and an unknown token is rejected', async () => {
    const client = connect()
    await signUp(client)
    const { session: before } = await dataOf(client.auth.getSession())
    const { session: after } = await dataOf(client.auth.refreshSession())
    assert.notEqual(after.refresh_token, before.refresh_token)
    assert.equal(claims(after).session_id, claims(before).session_id)
    assert.equal((await dataOf(client.auth.getUser(after.access_token))).user.id, after.user.id)
    const unknown = await connect().auth.refreshSession({ refresh_token: 'never-issued' })
    assert.deepEqual([unknown.error.status, unknown.error.code], [400, 'refresh_token_not_found'])
  })

  test('refreshed token is passed to Realtime', async () => {
    const client = connect()
    await signUp(client)
    const { session } = await dataOf(client.auth.refreshSession())
    await until(() => client.realtime.accessTokenValue === session.access_token, 'the new token at Realtime')
  })

  test('anonymous user keeps the id when adding an address', async () => {
    const client = connect()
    const { user } = await dataOf(client.auth.signInAnonymously())
    assert.equal(user.is_anonymous, true)
    const email = address()
    const changed = await dataOf(client.auth.updateUser({ email, password: PASSWORD }))
    assert.deepEqual([changed.user.id, changed.user.is_anonymous], [user.id, false])
    const back = await dataOf(connect().auth.signInWithPassword({ email, password: PASSWORD }))
    assert.equal(back.user.id, user.id)
  })

  test('sign-out ends the session immediately', async () => {
    const client = connect()
    await signUp(client)
    const { session } = await dataOf(client.auth.getSession())
    assert.equal((await client.auth.signOut()).error, null)
    const gone = await connect().auth.getUser(session.access_token)
    // The client's error for `session_not_found` of the server.
    assert.equal(gone.error?.name, 'AuthSessionMissingError')
    const refreshed = await connect().auth.refreshSession({ refresh_token: session.refresh_token })
    assert.equal(refreshed.error.code, 'refresh_token_not_found')
  })

  test('admin API creates and deletes users with the service key only', async () => {
    const { admin } = connect(process.env.SUPABASE_SERVICE_ROLE_KEY).auth
    const email = address()
    const { user } = await dataOf(admin.createUser({ email, password: PASSWORD, email_confirm: true }))
    const client = connect()
    const { session } = await dataOf(client.auth.signInWithPassword({ email, password: PASSWORD }))
    assert.equal((await dataOf(admin.getUserById(user.id))).user.email, email)
    const rejected = await client.auth.admin.deleteUser(user.id)
    assert.deepEqual([rejected.error.status, rejected.error.code], [403, 'not_admin'])
    await dataOf(admin.deleteUser(user.id))
    const gone = await client.auth.getUser(session.access_token)
    assert.equal(gone.error.code, 'user_not_found')
    const missing = await admin.deleteUser(user.id)
    assert.deepEqual([missing.error.status, missing.error.code], [404, 'user_not_found'])
  })
})
