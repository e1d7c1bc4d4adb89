// The page of the zone editor: inputs, checks by the server, saving.
import { element, IDS, KINDS, Picture } from '/zones_picture.js';

const find = (id) => document.getElementById(id);
const given = JSON.parse(find('layout').textContent);
const shapes = { lines: given.lines, zones: given.zones }, history = [];
let known = given.known, dirty = false, asked = 0, timer = 0;

const picture = new Picture(find('picture'), shapes, given.may_draw, {
  before: remember, change: changed, add, remove,
  select: (place) => document.querySelectorAll('.shape').forEach(
    (row) => row.classList.toggle('selected', row.dataset.place === place)),
  hint: (text) => { find('hint').textContent = text; },
});

// ---- changes
function remember(before) {
  history.push(before);
  find('undo').disabled = false;
}

function changed() {
  dirty = true;
  clearTimeout(timer);
  timer = setTimeout(check, 200);
}

function change(action) {
  remember(JSON.stringify(shapes));
  action();
  rows();
  picture.render();
  changed();
}

function add(list, corners) {
  const kind = list === 'lines' ? 'line' : 'zone', names = shapes[list].map((one) => one[IDS[list]]);
  let number = 1;
  while (names.includes(`${kind}-${number}`)) number += 1;
  const where = list === 'lines' ? { a: corners[0], b: corners[1] } : { polygon: corners };
  change(() => shapes[list].push({ [IDS[list]]: `${kind}-${number}`, kind: KINDS[list][0], ...where }));
  const place = `${list}.${shapes[list].length - 1}`;
  picture.select(place);
  picture.focus(`${place}.0`);
}

function remove(place) {
  const [list, n] = place.split('.');
  picture.selected = null;
  change(() => shapes[list].splice(n, 1));
  find('undo').focus();
}

function undo() {
  if (!history.length) return;
  Object.assign(shapes, JSON.parse(history.pop()));
  find('undo').disabled = !history.length;
  picture.selected = null;
  rows();
  picture.render();
  changed();
}

// ---- a row of inputs for each line and zone
function rows() {
  const all = ['lines', 'zones'].flatMap((list) => shapes[list].map((shape, n) => row(list, shape, `${list}.${n}`)));
  const none = element('p', { class: 'soft' }, 'No line and no zone yet: only frames are counted.');
  find('shapes').replaceChildren(...(all.length ? all : [none]));
  showFindings();
}

function row(list, shape, place) {
  const kind = shape.kind ?? KINDS[list][0], name = list === 'lines' ? 'line' : 'zone';
  const made = element('fieldset', { class: 'shape', 'data-place': place, disabled: !given.may_draw && '' });
  const text = { maxlength: 64 }, number = { type: 'number', min: 1 }, buttons = element('p', { class: 'buttons' });
  const id = input(shape, IDS[list], 'name', { ...text, required: '' });
  made.append(element('legend', {}, name), id, kinds(list, shape, kind));
  if (kind === 'entrance') made.append(input(shape, 'entrance', 'name of the entrance', { ...text, placeholder: 'its own' }));
  if (kind === 'staff') made.append(input(shape, 'staff_after', 'staff after seconds', number));
  if (kind === 'queue') made.append(input(shape, 'limit', 'limit, in people', { ...number, placeholder: 'none' }));
  const turn = () => change(() => [shape.a, shape.b] = [shape.b, shape.a]);
  if (list === 'lines' && kind !== 'passing') buttons.append(button('Turn the arrow', turn));
  buttons.append(button('Delete', () => remove(place), { 'aria-label': `Delete ${name} ${shape[IDS[list]]}` }));
  made.append(buttons, element('ul', { class: 'findings', id: `${place}-findings` }));
  made.classList.toggle('selected', place === picture.selected);
  made.addEventListener('focusin', () => picture.select(place));
  return made;
}

function input(shape, field, label, attributes) {
  const made = element('input', { 'data-field': field, value: shape[field] ?? '', ...attributes });
  let before = '';
  made.addEventListener('focus', () => { before = JSON.stringify(shapes); });
  made.addEventListener('input', () => {
    if (before) remember(before);
    before = '';
    const value = made.type === 'number' ? made.valueAsNumber : made.value;
    // An optional field that is empty is none; a name that is empty is a fault.
    if (made.required || (value && value !== '')) shape[field] = value; else delete shape[field];
    picture.render();
    changed();
  });
  return element('label', {}, label, made);
}

function kinds(list, shape, kind) {
  const made = element('select', { 'data-field': 'kind' },
    ...KINDS[list].map((one) => element('option', { value: one, selected: one === kind && '' }, one)));
  made.addEventListener('change', () => {
    const place = made.closest('.shape').dataset.place;
    change(() => {
      shape.kind = made.value;
      if (made.value !== 'entrance') delete shape.entrance;
      if (made.value !== 'staff') delete shape.staff_after;
      if (made.value !== 'queue') delete shape.limit;
    });
    document.querySelector(`[data-place="${place}"] select`).focus();
  });
  return element('label', {}, 'kind', made);
}

function button(text, action, attributes = {}) {
  const made = element('button', { type: 'button', ...attributes }, text);
  made.addEventListener('click', action);
  return made;
}

// ---- checks: the rules are the server's
const edit = () => ({
  camera: given.camera, known, lines: shapes.lines, zones: shapes.zones,
  valid_from: document.querySelector('[name=when]:checked')?.value === 'then' ? find('valid-from').value || 'none' : '',
});

async function post(address, body) {
  const answer = await fetch(address, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
  }).catch(() => null);
  if (!answer) return [0, { message: 'The console does not answer. Your layout is still here: try again.' }];
  if (answer.status === 401) return [401, { message: 'You are signed out: sign in in another tab, then go on here.' }];
  const found = await answer.json().catch(() => ({}));
  const message = found.detail ? JSON.stringify(found.detail) : `The console answered ${answer.status}.`;
  return [answer.status, { message, ...found }];
}
async function check() {
  const number = asked += 1;
  const [status, found] = await post('/zones/check', edit());
  if (number !== asked) return; // a newer one is on its way
  take(status === 200 ? found : { faults: [{ text: found.message, shapes: [], field: null }], notes: [] });
}

function take(found) {
  picture.findings = found;
  showFindings();
  picture.render();
}

function showFindings() {
  const { faults, notes } = picture.findings, general = [];
  document.querySelectorAll('.findings').forEach((list) => list.replaceChildren());
  document.querySelectorAll('[aria-invalid]').forEach((one) => one.removeAttribute('aria-invalid'));
  for (const one of [...faults, ...notes]) {
    const isFault = faults.includes(one), places = one.shapes.map((place) => find(`${place}-findings`)).filter(Boolean);
    const item = () => element('li', { class: isFault ? 'bad' : 'warn' }, `${isFault ? '✗' : '▲'} ${one.text}.`);
    const lists = one.field === 'valid_from' ? [find('valid-from-faults')] : places;
    lists.forEach((list) => list.append(item()));
    if (!lists.length) general.push(item());
    for (const list of isFault ? places : []) {
      list.closest('.shape').querySelector(`[data-field="${one.field}"]`)?.setAttribute('aria-invalid', 'true');
    }
  }
  find('general').replaceChildren(...(general.length ? [element('ul', {}, ...general)] : []));
  if (given.may_draw) find('save-button').disabled = !dirty || faults.length > 0;
}

// ---- saving
async function save() {
  find('save-button').disabled = true;
  const [status, found] = await post('/zones/save', edit());
  if (found.known) known = found.known;
  if (status === 200) { dirty = false; saved(found); }
  else if (status === 422 && found.faults) take(found);
  else find('result').replaceChildren(element('p', { class: 'note bad', role: 'alert' }, `✗ ${found.message}`));
  showFindings();
}

function saved({ version, valid_from: from, is_future: isFuture, recompute }) {
  find('version').textContent = `Layout ${version} of ${given.camera}, valid from ${from}.`;
  const first = element('strong', {}, `✓ Saved as layout ${version}, valid from ${from}.`);
  const since = isFuture ? ' Until then the layout before counts.' : ' Streams that run count with it within seconds.';
  const note = element('div', { class: 'note good' }, element('p', {}, first, since));
  if (recompute) note.append(...again(recompute));
  find('result').replaceChildren(note);
}

function again({ start, not_before: notBefore, frames, minutes, command }) {
  const when = notBefore ? `from ${notBefore} on, when the hour is over, run` : 'run';
  const cost = frames === null ? '' : ` It reads ${frames.toLocaleString('en')} frames: about ${minutes} min.`;
  const text = `To count again since ${start}, ${when} this where storelake runs.${cost}`;
  return [element('p', {}, text), element('pre', {}, element('code', {}, command))];
}

// ---- what is behind the layout
async function behind(kind) {
  find('behind').replaceChildren();
  find('hint').textContent = '';
  if (!kind) return;
  const answer = await fetch(`/zones/${kind}?camera=${encodeURIComponent(given.camera)}`).catch(() => null);
  if (answer?.ok) return kind === 'still' ? still(answer) : heat(await answer.text());
  const found = await answer?.json().catch(() => null);
  find('hint').textContent = found?.message ?? 'The console does not answer.';
  find('behind-it').value = '';
}

async function still(answer) {
  const reader = new FileReader(), image = new Image(), blob = await answer.blob();
  await new Promise((done) => { reader.onload = done; reader.readAsDataURL(blob); });
  image.src = reader.result;
  await image.decode();
  picture.height = Math.round((800 * image.naturalHeight) / image.naturalWidth);
  find('picture').setAttribute('viewBox', `0 0 800 ${picture.height}`);
  find('room').setAttribute('height', picture.height);
  find('behind').replaceChildren(element('image', { href: reader.result, width: 800, height: picture.height }));
  find('hint').textContent = `Taken at ${answer.headers.get('X-Captured-At')}. It is not stored.`;
  picture.render();
}

function heat(svg) {
  find('behind').innerHTML = svg;
  const map = find('behind').firstElementChild;
  map.setAttribute('width', 800);
  map.setAttribute('height', picture.height);
  find('hint').textContent = 'Where people stood in the last 24 hours.';
}

if (given.may_draw) {
  for (const one of ['line', 'zone']) {
    find(`draw-${one}`).addEventListener('click', ({ detail }) => picture.start(`${one}s`, detail === 0));
  }
  find('undo').addEventListener('click', undo);
  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'z' && event.target.tagName !== 'INPUT') undo();
  });
  find('behind-it').addEventListener('change', ({ target }) => behind(target.value));
  find('shapes').addEventListener('submit', (event) => event.preventDefault());
  find('valid-from').addEventListener('input', () => { document.querySelector('[value=then]').checked = true; });
  find('save').addEventListener('input', () => { if (dirty) changed(); });
  find('save').addEventListener('submit', (event) => { event.preventDefault(); save(); });
  window.addEventListener('beforeunload', (event) => dirty && event.preventDefault());
  check();
}
rows();
picture.render();
