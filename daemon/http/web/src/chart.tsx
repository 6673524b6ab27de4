// SPDX-License-Identifier: Apache-2.0
// Curves of a modification over its whole course, with uPlot. A sentence says the same to who does
// not see them.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Course } from './types';

export interface Line {
  label: string;
  color: string;
  values: (number | null)[];
  dash?: number[];
}

function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const powers = Array.from({ length: 50 }, (_, i) => 2 ** i);

export function Chart(props: {
  title: string;
  says: string;
  course: Course;
  lines: Line[];
  band?: { low: number; high: number };
  format: (value: number) => string;
  /** Bytes: the axis is divided at powers of two. */
  binary?: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const make = () => {
      plot.current?.destroy();
      const { lines, format } = latest.current;
      const axis = { stroke: css('--muted'), grid: { stroke: css('--line') }, ticks: { show: false } };
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height: 180,
          cursor: { y: false },
          legend: { live: true },
          scales: { y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
          axes: [
            axis,
            {
              ...axis,
              size: 80,
              values: (_u, ticks) => ticks.map((t) => format(t)),
              ...(latest.current.binary ? { incrs: powers } : {}),
            },
          ],
          series: [
            { value: (_u, t) => (t ? new Date(t * 1000).toLocaleTimeString() : '–') },
            ...lines.map((l) => ({
              label: l.label,
              stroke: css(l.color),
              width: 2,
              dash: l.dash ?? [],
              points: { show: false },
              value: (_u: uPlot, v: number | null) => (v === null ? '–' : format(v)),
            })),
          ],
          hooks: {
            drawClear: [
              (u) => {
                const band = latest.current.band;
                if (!band || band.high === 0) return;
                const top = u.valToPos(band.high, 'y', true);
                const bottom = u.valToPos(band.low, 'y', true);
                u.ctx.save();
                u.ctx.fillStyle = css('--band');
                u.ctx.fillRect(u.bbox.left, top, u.bbox.width, Math.max(2, bottom - top));
                u.ctx.restore();
              },
            ],
          },
        },
        data(),
        element,
      );
    };
    const data = (): uPlot.AlignedData => [
      latest.current.course.at.map((t) => t / 1000),
      ...latest.current.lines.map((l) => l.values),
    ];
    make();
    const resized = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: 180 });
    });
    resized.observe(element);
    dark.addEventListener('change', make);
    return () => {
      resized.disconnect();
      dark.removeEventListener('change', make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData([props.course.at.map((t) => t / 1000), ...props.lines.map((l) => l.values)]);
  }, [props.course]);

  return (
    <section class="card">
      <h2>{props.title}</h2>
      <p>{props.says}</p>
      <div ref={box} class="plot" role="img" aria-label={`${props.title}. ${props.says}`} />
    </section>
  );
}
