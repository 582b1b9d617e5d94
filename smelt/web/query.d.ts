// Declarations of the helpers for TanStack Query.
import type { SmeltClient } from './smelt.js'

/** The part of a `QueryClient` that is used. */
export interface Invalidates {
  invalidateQueries(filters: { queryKey: readonly unknown[] }): Promise<unknown>
}

export function smeltQueryInvalidator(queryClient: Invalidates): (client: SmeltClient) => () => void
export function smartPolling(key: readonly unknown[]): () => number
