// ---- A suite: its table, perplexity against memory, loss against rate, every run --------------------------------------
const bench = data.bench, methods = bench.methods;
methods.forEach((method, i) => {
  method.run = runs.find((run) => run.name === method.name) || {color: `var(--run${i % 7})`, dash: '', label: method.name};
  method.rate = method.best === undefined ? undefined : method.points[method.best].lr;
});
const baseline = methods.find((method) => method.name === bench.baseline);
const middle = (spread) => spread ? spread.mean : undefined;
const memories = {
  plan_bytes: 'Peak by plan', kept_bytes: 'Weights + state', ledger_bytes: 'Peak by ledger', resident_bytes: 'Resident',
};
const benchView = {memory: 'plan_bytes', sort: bench.plan_only ? 'plan_bytes' : 'loss'};

function drawBenchHeader() {
  document.title = `${bench.title} · tersor`;
  $('#title').textContent = bench.title;
  const failed = bench.cells.filter((cell) => cell.status === 'failed').length;
  $('#subtitle').textContent = `${methods.length} methods · ${bench.cells.length} of ${bench.total} runs` + (failed ? ` · ${failed} failed` : '');
  $('#bench-remarks').innerHTML = bench.remarks.map((text) => `<li>${esc(text)}</li>`).join('') +
    bench.sources.map((text, i) => `<li>[${i + 1}] ${esc(text)}</li>`).join('');
}

// ---- The table -----------------------------------------------------------------------------------------------------
function spreadText(spread, digits) {
  if (!spread || !known(spread.mean)) return '–';
  return spread.mean.toFixed(digits) + (spread.deviation ? `<span class="sub">± ${spread.deviation.toFixed(digits)}</span>` : '');
}
function publishedText(method) {
  return method.published.map((p) => `<span title="${esc(p.remark)}">${p.ppl.toFixed(2)} [${p.source}]</span>${p.memory ? `<span class="sub">${esc(p.memory)}</span>` : ''}`).join('') || '–';
}
function trainedColumns() {
  const difference = (m) => baseline && baseline.loss && m.loss && m !== baseline ? m.loss.mean - baseline.loss.mean : undefined;
  const columns = [
    ['rate', 'Rate', (m) => m.rate, (m) => known(m.rate) ? String(m.rate) + (m.at_edge ? ' †' : '') : m.points.some((p) => p.failed) ? 'failed' : '–'],
    ['loss', 'Validation loss', (m) => middle(m.loss), (m) => spreadText(m.loss, 3)],
    ['difference', `Δ ${bench.baseline}`, difference, (m) => known(difference(m)) ? (difference(m) < 0 ? '−' : '+') + Math.abs(difference(m)).toFixed(3) : '–'],
    ['ppl', 'Perplexity', (m) => middle(m.ppl), (m) => spreadText(m.ppl, 2)],
    ['legacy', 'ppl_legacy', (m) => middle(m.ppl_legacy), (m) => m.ppl_legacy ? m.ppl_legacy.mean.toFixed(2) : '–'],
    ...Object.entries(memories).map(([key, name]) => [key, name, (m) => m[key], (m) => bytes(m[key])]),
    ['speed', 'Tokens/s', (m) => -middle(m.tokens_per_second), (m) => short(middle(m.tokens_per_second))],
  ];
  if (methods.some((m) => m.published.length)) columns.push(['published', 'Published', (m) => (m.published[0] || {}).ppl, publishedText]);
  return columns;
}
function plannedColumns() {
  const segment = (name) => [name, name[0].toUpperCase() + name.slice(1), (m) => (m.segments || {})[name], (m) => bytes((m.segments || {})[name])];
  return [['plan_bytes', 'Peak', (m) => m.plan_bytes, (m) => bytes(m.plan_bytes)],
    ...['weights', 'optimizer', 'gradients', 'activations', 'temporary'].map(segment),
    ['kept_bytes', 'All weights + state', (m) => m.kept_bytes, (m) => bytes(m.kept_bytes)],
    ['parameters', 'Parameters', (m) => m.parameters, (m) => short(m.parameters)]];
}
function drawBenchTable() {
  const columns = bench.plan_only ? plannedColumns() : trainedColumns();
  const value = columns.find(([key]) => key === benchView.sort)[2];
  const order = (m) => known(value(m)) ? value(m) : Infinity;
  const rows = [...methods].sort((a, b) => order(a) === order(b) ? 0 : order(a) - order(b));
  const lowest = new Map(columns.map(([key, , get]) => [key, Math.min(...methods.map(get).filter(known))]));
  const marked = ['ppl', 'loss', ...Object.keys(memories)];
  const head = columns.map(([key, name]) => `<th scope="col" class="num" ${key === benchView.sort ? 'aria-sort="ascending"' : ''}><button data-sort="${key}">${esc(name)}</button></th>`).join('');
  const body = rows.map((m) => `<tr><th scope="row">${bench.plan_only ? '' : swatch(m.run)}${esc(m.name)}${m.on_front ? ' ●' : ''}</th>${columns.map(([key, name, get, text]) =>
    `<td class="num ${marked.includes(key) && known(get(m)) && get(m) === lowest.get(key) ? 'best' : ''}" data-label="${esc(name)}">${text(m)}</td>`).join('')}</tr>`).join('');
  $('#summary').innerHTML = `<table><thead><tr><th scope="col">Method</th>${head}</tr></thead><tbody>${body}</tbody></table>`;
  $('#summary').onclick = (e) => {
    const button = e.target.closest('button[data-sort]');
    if (!button) return;
    benchView.sort = button.dataset.sort;
    drawBenchTable();
    $(`#summary button[data-sort="${benchView.sort}"]`).focus();
  };
}

// ---- Plots ---------------------------------------------------------------------------------------------------------
// A scale from values to pixels, with its ticks.
function scale(values, from, to, {log, inBytes, count = 5}) {
  let low = Math.min(...values), high = Math.max(...values);
  const pad = log ? (high / low) ** 0.07 : (high - low || high || 1) * 0.07;
  [low, high] = log ? [low / Math.max(pad, 1.02), high * Math.max(pad, 1.02)] : [Math.max(0, low - pad), high + pad];
  const place = log ? (v) => Math.log(v / low) / Math.log(high / low) : (v) => (v - low) / (high - low);
  const at = (v) => from + (to - from) * place(v);
  return {at, ticks: log ? logTicks(low, high) : inBytes ? byteTicks(low, high, count) : ticks(low, high, count)};
}
function frame(width, height, x, y, xText, yText) {
  return x.ticks.map((v) => `<line class="grid" x1="${x.at(v)}" x2="${x.at(v)}" y1="14" y2="${height - 24}"/><text x="${x.at(v)}" y="${height - 8}" text-anchor="middle">${xText(v)}</text>`).join('') +
    y.ticks.map((v) => `<line class="grid" x1="58" x2="${width - 12}" y1="${y.at(v)}" y2="${y.at(v)}"/><text x="52" y="${y.at(v) + 4}" text-anchor="end">${yText(v)}</text>`).join('');
}
// Places names beside their points if there is room, else above or below, else nowhere.
function placeLabels(points, width, height) {
  const taken = points.map((p) => ({l: p.x - 6, r: p.x + 6, t: p.y - 6, b: p.y + 6}));
  const free = (box) => box.l > 58 && box.r < width && box.t > 4 && box.b < height - 24 &&
    taken.every((o) => box.r < o.l || box.l > o.r || box.b < o.t || box.t > o.b);
  return points.map((p) => {
    const w = 6.6 * p.name.length;
    const spots = [[9, 4, 'start', 0], [-9, 4, 'end', -w], [0, -10, 'middle', -w / 2], [0, 19, 'middle', -w / 2]];
    for (const [dx, dy, anchor, left] of spots) {
      const shift = anchor === 'middle' ? left : anchor === 'start' ? dx : dx + left;
      const box = {l: p.x + shift, r: p.x + shift + w, t: p.y + dy - 11, b: p.y + dy + 3};
      if (!free(box)) continue;
      taken.push(box);
      return `<text class="dot-label" x="${p.x + dx}" y="${p.y + dy}" text-anchor="${anchor}">${esc(p.name)}</text>`;
    }
    return '';
  }).join('');
}
function frontOf(points) {  // no other point has less of one and no more of the other
  return points.filter((p) => !points.some((o) => o.bytes <= p.bytes && o.ppl <= p.ppl && (o.bytes < p.bytes || o.ppl < p.ppl)))
    .sort((a, b) => a.bytes - b.bytes);
}
function drawPareto() {
  const plot = $('#pareto .plot'), width = plot.clientWidth, height = width < 560 ? 340 : 430, key = benchView.memory;
  const points = methods.filter((m) => known(m[key]) && m.ppl && known(m.ppl.mean))
    .map((m) => ({m, name: m.name, bytes: m[key], ppl: m.ppl.mean, low: m.ppl.low, high: m.ppl.high}));
  $('#pareto').hidden = !points.length;
  if (!points.length || !width) return;
  const values = points.flatMap((p) => [p.low, p.high].filter(known));
  const log = Math.max(...values) / Math.min(...values) > 3;
  $('#pareto figcaption span').textContent = `lower left is better${log ? '; perplexity on a logarithmic axis' : ''}`;
  const x = scale(points.map((p) => p.bytes), 58, width - 12, {inBytes: true, count: width < 560 ? 4 : 8});
  const y = scale(values, height - 24, 14, {log});
  for (const p of points) [p.x, p.y] = [x.at(p.bytes), y.at(p.ppl)];
  const steps = frontOf(points).map((p, i, all) => (i ? `H${p.x}` : `M${p.x} 14`) + `V${p.y}` + (i === all.length - 1 ? `H${width - 12}` : '')).join('');
  const dots = points.map((p) => `<g style="stroke: ${p.m.run.color}"><title>${esc(p.name)}: perplexity ${p.ppl.toFixed(2)} (${p.low.toFixed(2)} to ${p.high.toFixed(2)}), ${bytes(p.bytes)}</title>
    <path d="M${p.x} ${y.at(p.low)}V${y.at(p.high)}M${p.x - 4} ${y.at(p.low)}h8M${p.x - 4} ${y.at(p.high)}h8" stroke-width="1.5" fill="none"/>
    <circle cx="${p.x}" cy="${p.y}" r="5" style="fill: ${p.m.run.dash ? 'var(--card)' : p.m.run.color}" stroke-width="2"/></g>`).join('');
  plot.innerHTML = `<svg viewBox="0 0 ${width} ${height}" height="${height}" role="img" aria-label="${esc(points.map((p) => `${p.name} ${p.ppl.toFixed(1)} in ${bytes(p.bytes)}`).join(', '))}">
    ${frame(width, height, x, y, bytes, (v) => short(v, 4))}<path class="front" d="${steps}"/>${dots}${placeLabels(points, width, height)}</svg>`;
}
function drawRates() {
  const plot = $('#rates .plot'), width = plot.clientWidth, height = width < 560 ? 300 : 340;
  const curves = methods.map((m) => ({m, points: m.points.filter((p) => p.loss && known(p.loss.mean)).sort((a, b) => a.lr - b.lr)})).filter((c) => c.points.length);
  const rates = curves.flatMap((c) => c.points.map((p) => p.lr));
  $('#rates').hidden = !(Math.max(...rates) > Math.min(...rates));
  if ($('#rates').hidden || !width) return;
  $('#rates figcaption span').textContent = 'each with its best other options';
  for (const c of curves) c.points = [...new Set(c.points.map((p) => p.lr))].map((lr) => c.points.filter((p) => p.lr === lr).sort((a, b) => a.loss.mean - b.loss.mean)[0]);
  const losses = curves.flatMap((c) => c.points.flatMap((p) => [p.loss.low, p.loss.high]));
  const x = scale(rates, 58, width - 12, {log: true}), y = scale(losses, height - 24, 14, {count: 6});
  const lines = curves.map(({m, points}) => {
    const line = points.map((p, i) => `${i ? 'L' : 'M'}${x.at(p.lr)} ${y.at(p.loss.mean)}`).join('');
    const dots = points.map((p) => `<circle cx="${x.at(p.lr)}" cy="${y.at(p.loss.mean)}" r="${p === m.points[m.best] ? 5 : 3}" style="fill: ${m.run.color}"><title>${esc(m.name)}: ${plain(p.loss.mean)} at ${p.lr}</title></circle>`).join('');
    return `<path class="curve" d="${line}" style="stroke: ${m.run.color}" stroke-dasharray="${m.run.dash}"/>${dots}`;
  }).join('');
  const ends = curves.map(({m, points}) => ({name: m.name, x: x.at(last(points.map((p) => p.lr))), y: y.at(last(points.map((p) => p.loss.mean)))}));
  plot.innerHTML = `<svg viewBox="0 0 ${width} ${height}" height="${height}" role="img" aria-label="Validation loss against learning rate">
    ${frame(width, height, x, y, (v) => String(Number(v.toPrecision(2))), (v) => short(v, 4))}${lines}${placeLabels(ends, width, height)}</svg>`;
}
function drawPlannedMemory() {
  $('#bench-memory').hidden = !bench.plan_only;
  if (!bench.plan_only) return;
  const rows = methods.filter((m) => m.segments).sort((a, b) => a.plan_bytes - b.plan_bytes), largest = Math.max(...rows.map((m) => m.plan_bytes));
  const color = (name) => `var(--seg${kStacked.indexOf(name) % 7})`;
  $('#bench-memory .card').innerHTML = rows.map((m) => {
    const parts = kStacked.filter((name) => m.segments[name]);
    return `<div class="bar-row"><span class="peak">${bytes(m.plan_bytes)}</span><span class="name">${esc(m.name)}</span>
      <div class="stack" role="img" aria-label="${esc(parts.map((name) => `${name} ${bytes(m.segments[name])}`).join(', '))}">${parts.map((name) =>
        `<div style="width: ${100 * m.segments[name] / largest}%; background: ${color(name)}" title="${name}: ${bytes(m.segments[name])}"></div>`).join('')}</div>
      <div class="parts">${parts.map((name) => `<span><i style="background: ${color(name)}"></i>${name} ${bytes(m.segments[name])}</span>`).join('')}</div></div>`;
  }).join('');
}

// ---- Every run -----------------------------------------------------------------------------------------------------
function drawBenchRuns() {
  const fixed = (v, digits) => known(v) ? v.toFixed(digits) : '–';
  const row = (cell) => `<tr><td><details><summary>${esc(cell.cell)}</summary>${cell.log.length ? `<pre>${esc(cell.log.join('\n'))}</pre>` : ''}<pre>${esc(cell.config)}</pre></details></td>
    <td><span class="state ${cell.status === 'planned' ? '' : esc(cell.status)}">${esc(cell.status)}</span></td><td class="num">${cell.seed}</td><td class="num">${fixed(cell.loss, 4)}</td><td class="num">${fixed(cell.ppl, 2)}</td>
    <td class="num">${fixed(cell.ppl_legacy, 2)}</td><td class="num">${bytes(cell.plan_bytes)}</td><td class="num">${bytes(cell.ledger_bytes)}</td><td class="num">${short(cell.tokens_per_second)}</td><td class="num">${duration(cell.seconds)}</td></tr>`;
  const head = ['Run, with its exact configuration', 'Status', 'Seed', 'Loss', 'Perplexity', 'ppl_legacy', 'Plan', 'Ledger', 'Tokens/s', 'Time'];
  $('#bench-runs .card').innerHTML = `<table><thead><tr>${head.map((name, i) => `<th scope="col" class="${i > 1 ? 'num' : ''}">${name}</th>`).join('')}</tr></thead><tbody>${bench.cells.map(row).join('')}</tbody></table>`;
  $('#config').after($('#bench-runs'));
}
function addMemoryChoice() {
  const choice = $('#pareto .choice');
  choice.innerHTML = Object.entries(memories).filter(([key]) => methods.some((m) => known(m[key]))).map(([key, name]) =>
    `<button data-memory="${key}" aria-pressed="${key === benchView.memory}">${name}</button>`).join('');
  choice.onclick = (e) => {
    if (!e.target.dataset.memory) return;
    benchView.memory = e.target.dataset.memory;
    for (const button of choice.children) button.setAttribute('aria-pressed', String(button === e.target));
    drawPareto();
  };
}

drawBenchHeader();
drawBenchTable();
drawPlannedMemory();
drawBenchRuns();
addMemoryChoice();
$('#bench-plots').hidden = bench.plan_only;
$('#curves').hidden = !runs.length;
if (!bench.plan_only) {
  let benchWidth = 0;
  new ResizeObserver(([entry]) => {
    if (entry.contentRect.width === benchWidth) return;
    benchWidth = entry.contentRect.width;
    drawPareto();
    drawRates();
  }).observe($('#bench-plots'));
}
