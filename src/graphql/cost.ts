/**
 * The type Cost: an amount of money.
 */
import { MICROS_PER_USD } from '../domain/models.ts'
import { builder } from './builder.ts'

/** The source value is in micro-USD. */
export const Cost = builder.objectRef<number>('Cost').implement({
  description: 'An amount of money.',
  fields: t => ({
    amount: t.float({ resolve: micro => micro / MICROS_PER_USD }),
    currency: t.string({ description: 'ISO 4217; always USD.', resolve: () => 'USD' }),
  }),
})
