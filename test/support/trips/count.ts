/**
 * The size of a trip.
 */
import type { Trip } from './recorder.ts'

export const filesIn = ({ path }: Trip): number => new Set(path).size

/** Number of entries into a file that was entered and left before. */
export const returnsIn = (trip: Trip): number => trip.path.length - filesIn(trip)
