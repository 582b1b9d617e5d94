// The app's own part: the client of supabase-js, and a session.
import { key, url } from './settings.js'

export const supabase = window.supabase.createClient(url, key)

// Row-level security protects each smelt by its owner; an app with accounts signs in here instead.
const { data } = await supabase.auth.getSession()
if (!data.session) await supabase.auth.signInAnonymously()
