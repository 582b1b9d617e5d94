import { createClient } from '@supabase/supabase-js'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { SmeltProvider } from 'smelt-js/react'
import { App } from './App'
import './style.css'

const supabase = createClient(import.meta.env.SUPABASE_URL, import.meta.env.SUPABASE_ANON_KEY)

// Row-level security protects each smelt by its owner; an app with accounts signs in here instead.
const { data } = await supabase.auth.getSession()
if (!data.session) await supabase.auth.signInAnonymously()

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <SmeltProvider supabase={supabase}>
      <App />
    </SmeltProvider>
  </StrictMode>,
)
