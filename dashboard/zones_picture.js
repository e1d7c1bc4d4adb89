// Lines and zones on a picture, in shares of it (y downwards): drawn, moved and selected.
const SVG = ['g', 'line', 'polygon', 'polyline', 'circle', 'text', 'image'];
const WIDTH = 800, ARROW = 46, CLOSE = 16, STEP = 0.005;
export const IDS = { lines: 'line_id', zones: 'zone_id' };
export const KINDS = { lines: ['entrance', 'passing', 'count'], zones: ['browse', 'queue', 'staff'] };

/** An HTML or SVG element; an attribute that is false is left out. */
export function element(tag, attributes = {}, ...children) {
  const made = SVG.includes(tag)
    ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== false) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** From the middle of a line to the right of a -> b, as `entry_arrow` of conf/stores/reach.py. */
function entryArrow(a, b) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]], length = Math.hypot(dx, dy) || 1;
  const [x, y] = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  return { x1: x, y1: y, x2: x - (dy / length) * ARROW, y2: y + (dx / length) * ARROW };
}

const round = (v) => Math.round(Math.min(1, Math.max(0, v)) * 1000) / 1000;
const between = (p, q) => [round((p[0] + q[0]) / 2), round((p[1] + q[1]) / 2)];
const cornersOf = (shape) => shape.polygon ?? [shape.a, shape.b];
const setCorner = (shape, n, point) => { (shape.polygon ?? shape)[shape.polygon ? n : 'ab'[n]] = point; };

export class Picture {
  /**
   * shapes: {lines, zones} as in the store file, changed in place; mayDraw: whether they can be.
   * on.before(text): shapes before a change, as JSON; on.change(): after it, on.add(list, corners),
   * on.remove(place), on.select(place), on.hint(text). A place is such as `lines.0`.
   */
  constructor(svg, shapes, mayDraw, on) {
    Object.assign(this, { svg, shapes, mayDraw, on, layer: svg.querySelector('#layer'), height: 600 });
    Object.assign(this, { selected: null, pending: null, drag: null, findings: { faults: [], notes: [] } });
    this.layer.addEventListener('focusin', ({ target }) => {
      if (this.drag || !target.dataset.place) return;
      this.byKeyboard = true;
      this.select(target.dataset.place);
    });
    if (!mayDraw) return;
    svg.addEventListener('pointerdown', (event) => this.press(event));
    svg.addEventListener('pointermove', (event) => this.drags(event));
    for (const end of ['pointerup', 'pointercancel']) svg.addEventListener(end, () => this.release());
    document.addEventListener('keydown', (event) => this.key(event) && event.preventDefault());
  }

  shape(place) { const [list, n] = place.split('.'); return this.shapes[list][n]; }
  id(place) { return this.shape(place)[IDS[place.split('.')[0]]]; }
  pixels([x, y]) { return [x * WIDTH, y * this.height]; }
  focus(key) { this.layer.querySelector(`[data-key="${key}"]`)?.focus({ preventScroll: true }); }
  concerns(what, place) { return this.findings[what].some((one) => one.shapes.includes(place)); }

  // ---- drawn
  render() {
    const key = this.layer.contains(document.activeElement) && document.activeElement.dataset.key;
    const places = ['zones', 'lines'].flatMap((list) => this.shapes[list].map((_, n) => `${list}.${n}`));
    const handles = this.selected && this.mayDraw ? this.handles(this.selected) : [];
    // Tab leads from a shape to its corners; for a pointer they lie above all other shapes.
    const after = (place) => (this.byKeyboard && place === this.selected ? handles : []);
    const groups = places.flatMap((place) => [this.group(place), ...after(place)]);
    const above = [...(this.byKeyboard ? [] : handles), ...(this.pending ? this.unfinished() : [])];
    this.layer.replaceChildren(...groups, ...above);
    this.svg.classList.toggle('drawing', Boolean(this.pending));
    if (key) this.focus(key);
  }

  group(place) {
    const shape = this.shape(place), list = place.split('.')[0], kind = shape.kind ?? KINDS[list][0];
    const corners = cornersOf(shape).map((c) => this.pixels(c));
    const state = this.concerns('faults', place) ? 'bad' : this.concerns('notes', place) ? 'odd' : '';
    const group = element('g', {
      class: `${list} ${kind} ${place === this.selected ? 'selected' : ''} ${state}`, 'data-place': place,
      'data-key': place, tabindex: this.mayDraw && 0, role: 'button', 'aria-pressed': String(place === this.selected),
      'aria-label': `${list === 'lines' ? 'line' : 'zone'} ${this.id(place)}, ${kind}`,
    });
    if (list === 'zones') group.append(element('polygon', { points: corners.join(' ') }));
    else {
      const [[x1, y1], [x2, y2]] = corners;
      group.append(...['wide', 'line'].map((name) => element('line', { class: name, x1, y1, x2, y2 })));
      const arrow = { class: 'entry', ...entryArrow(...corners), 'marker-end': 'url(#entry)' };
      if (kind !== 'passing') group.append(element('line', arrow));
    }
    group.append(this.name(place, list === 'zones' ? corners : [[corners[1][0], corners[1][1] - 12]]));
    return group;
  }

  name(place, corners) {
    const [x, y] = [0, 1].map((i) => corners.reduce((sum, c) => sum + c[i], 0) / corners.length);
    const anchor = x < 90 ? 'start' : x > WIDTH - 90 ? 'end' : 'middle';
    const within = { x: Math.min(WIDTH - 8, Math.max(8, x)), y: Math.min(this.height - 8, Math.max(26, y)) };
    return element('text', { ...within, 'text-anchor': anchor }, this.id(place));
  }

  handles(place) {
    const shape = this.shape(place), corners = cornersOf(shape);
    const edges = (shape.polygon ?? []).map((corner, n) => {
      const [cx, cy] = this.pixels(between(corner, corners[(n + 1) % corners.length]));
      return element('circle', { class: 'between', cx, cy, r: 7, 'data-place': place, 'data-insert': n + 1 });
    });
    return edges.concat(corners.flatMap((corner, n) => {
      const [cx, cy] = this.pixels(corner), data = { cx, cy, 'data-place': place, 'data-corner': n };
      const where = `${Math.round(corner[0] * 100)} % across, ${Math.round(corner[1] * 100)} % down`;
      const label = `corner ${n + 1} of ${this.id(place)}, ${where}`;
      return [element('circle', { class: 'reach', r: 20, ...data }), element('circle', {
        class: 'corner', r: 9, ...data, 'data-key': `${place}.${n}`, tabindex: 0, role: 'button', 'aria-label': label,
      })];
    }));
  }

  unfinished() {
    const { points, to } = this.pending, all = [...points, ...(to ? [to] : [])].map((p) => this.pixels(p));
    const dots = points.map((p) => this.pixels(p)).map(([cx, cy]) => element('circle', { class: 'corner', cx, cy, r: 7 }));
    return [element('polyline', { points: all.join(' ') }), ...dots];
  }

  select(place) {
    if (place === this.selected) return;
    this.selected = place;
    this.on.select(place);
    this.render();
  }

  /** Begin a shape: by points, or by the keyboard a shape in the middle, whose corners can be moved. */
  start(list, byKeyboard) {
    const middle = list === 'lines' ? [[0.35, 0.5], [0.65, 0.5]] : [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]];
    if (byKeyboard) return this.on.add(list, middle);
    this.pending = { list, points: [], to: null };
    this.on.hint(list === 'lines' ? 'Set both ends. Escape cancels.'
      : 'Set the corners; the first one again, or Enter, closes the zone. Escape cancels.');
    this.select(null);
    this.render();
  }

  finish() {
    const { list, points } = this.pending;
    this.pending = null;
    this.on.hint('');
    this.on.add(list, points);
  }

  // ---- pointer
  at(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [round(point.x / WIDTH), round(point.y / this.height)];
  }

  setPoint(point) {
    const { list, points } = this.pending, first = points[0] && this.pixels(points[0]);
    const isFirst = first && Math.hypot(...this.pixels(point).map((v, i) => v - first[i])) < CLOSE;
    if (!isFirst) points.push(point);
    if (list === 'lines' ? points.length === 2 : isFirst && points.length >= 3) this.finish();
    else this.render();
  }

  press(event) {
    if (event.button) return;
    const { place, corner, insert } = event.target.closest('[data-place]')?.dataset ?? {};
    if (place || this.pending) event.preventDefault();
    if (this.pending) return this.setPoint(this.at(event));
    this.byKeyboard = false;
    this.select(place ?? null);
    if (!place) return;
    const before = JSON.stringify(this.shapes), point = this.at(event), shape = this.shape(place);
    if (insert) shape.polygon.splice(insert, 0, point);
    const held = insert ?? corner;
    const from = structuredClone(cornersOf(shape));
    this.drag = { place, corner: held && Number(held), start: point, from, before, moved: Boolean(insert) };
    this.svg.setPointerCapture(event.pointerId);
    this.render();
    this.focus(held ? `${place}.${held}` : place);
  }

  drags(event) {
    const point = this.at(event), { pending, drag } = this;
    if (pending?.points.length) pending.to = point;
    if (drag) {
      drag.moved ||= point.some((v, i) => v !== drag.start[i]);
      this.move(drag.place, drag.corner, drag.from, point[0] - drag.start[0], point[1] - drag.start[1]);
    }
    if (drag || pending) this.render();
  }

  release() {
    const ended = this.drag;
    this.drag = null;
    if (ended?.moved) this.changed(ended.before);
  }

  changed(before) {
    this.on.before(before);
    this.on.change();
    this.render();
  }

  /** Move a corner, or without one the whole shape, as far as the picture goes. */
  move(place, corner, from, ...way) {
    if (corner !== undefined) return setCorner(this.shape(place), corner, from[corner].map((v, i) => round(v + way[i])));
    const limited = way.map((d, i) => {
      const values = from.map((c) => c[i]);
      return Math.min(1 - Math.max(...values), Math.max(-Math.min(...values), d));
    });
    from.forEach((c, n) => setCorner(this.shape(place), n, c.map((v, i) => round(v + limited[i]))));
  }

  // ---- keys: whether one was used
  key(event) {
    if (this.pending && event.key === 'Escape') { this.pending = null; this.on.hint(''); this.render(); return true; }
    if (this.pending?.list === 'zones' && event.key === 'Enter' && this.pending.points.length >= 3) {
      this.finish();
      return true;
    }
    const { place, corner } = event.target.dataset ?? {};
    if (!place || !this.layer.contains(event.target)) return false;
    const n = corner && Number(corner), polygon = this.shape(place).polygon, before = JSON.stringify(this.shapes);
    const step = STEP * (event.shiftKey ? 10 : 1);
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (ways[event.key]) this.move(place, n, structuredClone(cornersOf(this.shape(place))), ...ways[event.key]);
    else if (['Delete', 'Backspace'].includes(event.key)) {
      if (n === undefined) { this.on.remove(place); return true; }
      if (!polygon || polygon.length <= 3) { this.on.hint('A zone has at least three corners, a line two.'); return true; }
      polygon.splice(n, 1);
    } else if (event.key === '+' && polygon && n !== undefined) {
      polygon.splice(n + 1, 0, between(polygon[n], polygon[(n + 1) % polygon.length]));
    } else return false;
    this.changed(before);
    return true;
  }
}
