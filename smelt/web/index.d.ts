export * from './smelt.js'
