import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// The variables are those that `smelt serve` prints; only the ones with these names reach the page.
export default defineConfig({ plugins: [react()], envPrefix: ['SUPABASE_URL', 'SUPABASE_ANON_KEY'] })
