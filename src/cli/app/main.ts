/**
 * `npm run app`: creates apps, sets their limits, creates and revokes keys.
 * Works beside a running gateway: both write the same file, and a change takes effect there within five seconds, also for
 * open connections. Exit code 0; or 1 with a sentence on stderr.
 */
import { StartupError } from '../../domain/errors.ts'
import { runCommand } from './command.ts'

// A reader such as `head` closes the pipe before the list ends.
process.stdout.on('error', () => {})

try {
  console.log(await runCommand(process.argv.slice(2), process.env, Date.now()))
} catch (error) {
  if (!(error instanceof StartupError)) throw error
  console.error(`app: ${error.message}`)
  process.exitCode = 1
}
