/**
 * `npm run app`: makes apps, sets their limits, gives keys and takes them back.
 * Works beside a running gateway: both write the same file, and what is changed here holds there within five
 * seconds, for open connections too. Exit code 0; or 1, and a sentence on stderr.
 */
import { StartupError } from '../../domain/errors.ts'
import { runCommand } from './command.ts'

// Whoever reads only the head of the list goes away before its end.
process.stdout.on('error', () => {})

try {
  console.log(await runCommand(process.argv.slice(2), process.env, Date.now()))
} catch (error) {
  if (!(error instanceof StartupError)) throw error
  console.error(`app: ${error.message}`)
  process.exitCode = 1
}
