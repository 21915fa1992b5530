/**
 * Plot of the last hour by the minute: submitted, finished and failed jobs, and their time in the queue. Totals as text, too.
 */
import { html } from 'htm/preact'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { Dashboard } from './dashboard-state.ts'
import { formatSeconds } from './format.ts'
import { useRedrawEvery } from './hooks.ts'
import { computeHourStats, type HourStats } from './hour-stats.ts'

const HEIGHT = 112
/** Below this width a bar covers five minutes, since bars of one minute would be hairlines. */
const NARROW_PX = 480
const minutesPerBar = (element: HTMLElement | null): number =>
  element !== null && element.clientWidth < NARROW_PX ? 5 : 1
const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
/** The plot's values change no faster. */
const REDRAW_INTERVAL_MS = 2000

export function HourPlot({ dashboard }: { dashboard: Dashboard }) {
  const container = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  useRedrawEvery(REDRAW_INTERVAL_MS, true)
  const { timesById, truncatedAt } = dashboard.history
  const stats = () => computeHourStats(timesById.values(), dashboard.now(), minutesPerBar(container.current))

  useEffect(() => {
    const element = container.current
    if (element === null) return
    const draw = () => {
      plot.current?.destroy()
      plot.current = new uPlot(plotOptions(element), toPlotData(stats()), element)
    }
    draw()
    const sizes = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }),
    )
    sizes.observe(element)
    const theme = matchMedia('(prefers-color-scheme: dark)')
    theme.addEventListener('change', draw)
    return () => {
      theme.removeEventListener('change', draw)
      sizes.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [dashboard])

  useEffect(() => plot.current?.setData(toPlotData(stats())))

  return html`
    <figure class="panel hour">
      <figcaption>
        <h2>Last hour</h2>
        <${Totals} hour=${stats()} truncatedAt=${truncatedAt} />
      </figcaption>
      <div ref=${container} aria-hidden="true" style=${{ height: `${HEIGHT}px` }} />
    </figure>
  `
}

function Totals({ hour, truncatedAt }: { hour: HourStats; truncatedAt: number | null }) {
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
  const waited = hour.medianWait
  return html`
    <p class="sums">
      <span class="submitted"><b>${sum(hour.submitted)}</b> submitted</span>
      <span class="finished"><b>${sum(hour.finished)}</b> finished</span>
      <span class="failed"><b>${sum(hour.failed)}</b> failed</span>
      <span class="waited"><b>${waited === null ? '–' : formatSeconds(waited)}</b> median wait</span>
      ${truncatedAt !== null && html`<span class="hint">of the newest ${truncatedAt} jobs</span>`}
    </p>
  `
}

const toPlotData = ({ times, submitted, finished, failed, waited }: HourStats): uPlot.AlignedData => [
  times,
  submitted,
  finished,
  failed,
  waited,
]

function plotOptions(element: HTMLElement): uPlot.Options {
  const color = (name: string) => resolveColor(element, name)
  const axis = {
    stroke: color('--faint'),
    font: `11px ${getComputedStyle(element).fontFamily}`,
    ticks: { show: false },
    grid: { stroke: color('--line'), width: 1 },
    gap: 4,
  }
  const bars = (name: string, stroke: string, align: -1 | 0 | 1) => ({
    label: name,
    stroke: color(stroke),
    fill: color(stroke),
    width: 0,
    points: { show: false },
    paths: uPlot.paths.bars!({ size: [0.28, 6], align, gap: 0 }),
  })
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 0, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: {
        time: true,
        range: (_, first, last) => [first - (last - first) / 118, last + (last - first) / 60],
      },
      y: { range: (_, _min, max) => [0, Math.max(4, Math.ceil(max * 1.1))] },
      s: { range: (_, _min, max) => [0, Math.max(4, (max ?? 0) * 1.1)] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 22,
        space: 80,
        values: (_, splits) => splits.map(split => TIME.format(split * 1000)),
      },
      { ...axis, size: 30, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000], space: 30 },
      {
        ...axis,
        scale: 's',
        side: 1,
        size: 44,
        grid: { show: false },
        space: 30,
        values: (_, splits) => splits.map(split => (split === 0 ? '' : formatSeconds(split))),
      },
    ],
    series: [
      {},
      bars('submitted', '--submitted', -1),
      bars('finished', '--accent', 0),
      bars('failed', '--bad', 1),
      {
        label: 'in the queue',
        scale: 's',
        stroke: color('--warm'),
        width: 1.5,
        spanGaps: true,
        points: { show: true, size: 4, fill: color('--warm') },
      },
    ],
  }
}

/** Resolves a CSS variable to a color: a canvas takes no variables, and the variable's raw value is a `light-dark()`. */
function resolveColor(element: HTMLElement, name: string): string {
  const probe = element.appendChild(document.createElement('i'))
  probe.style.color = `var(${name})`
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}
