// Subscriptions without a framework: a function, the same with retries, and a class of an app around both.
import type { SupabaseClient } from '@supabase/supabase-js'
import {
  SmeltSubscription,
  subscribeToSmelt,
  subscribeWithRetry,
  type CompletedUpdate,
  type FailedUpdate,
  type ProgressUpdate,
  type SmeltCallbacks,
} from 'smelt-js'

type Log = (line: string) => void

const callbacks = (log: Log): SmeltCallbacks => ({
  onProgress: (payload: ProgressUpdate) => log(`Progress: ${payload.progress.percentage}%`),
  onCompleted: (payload: CompletedUpdate) => log(`Complete! ${payload.results.map(({ content }) => content).join()}`),
  onFailed: (payload: FailedUpdate) => log(`Failed: ${payload.error_code} ${payload.error_message}`),
  onError: (error: Error) => log(`Error: ${error.message}`),
})

export function follow(supabaseClient: SupabaseClient, smeltId: string, log: Log): SmeltSubscription {
  return subscribeToSmelt(supabaseClient, smeltId, callbacks(log))
}

export function followWithRetry(supabaseClient: SupabaseClient, smeltId: string, log: Log): SmeltSubscription {
  return subscribeWithRetry(supabaseClient, smeltId, callbacks(log), 3)
}

export class Follower {
  private subscription: SmeltSubscription | null = null

  constructor(
    private supabase: SupabaseClient,
    private smeltId: string,
    private log: Log,
  ) {}

  start(): void {
    this.subscription = new SmeltSubscription(this.supabase, this.smeltId, callbacks(this.log))
    this.subscription.subscribe()
  }

  stop(): void {
    this.subscription?.unsubscribe()
    this.subscription = null
  }
}
