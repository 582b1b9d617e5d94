// Users of the project, without supabase-js.
const { SUPABASE_URL, SUPABASE_ANON_KEY } = process.env

export const PASSWORD = 'correct horse battery'

/** Sign up and return a user with a token; anonymous without an address. */
export async function signUp(email) {
  const response = await fetch(`${SUPABASE_URL}/auth/v1/signup`, {
    method: 'POST',
    headers: { apikey: SUPABASE_ANON_KEY, 'content-type': 'application/json' },
    body: JSON.stringify(email ? { email, password: PASSWORD } : {}),
  })
  const { access_token, user } = await response.json()
  return { token: access_token, id: user.id, email }
}

export const newEmail = () => `${crypto.randomUUID()}@example.com`
