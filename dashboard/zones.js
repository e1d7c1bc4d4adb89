// The page on which an operator draws lines and zones: forms, checks by the server, saving.
import { element, IDS, KINDS, Picture } from '/zones_picture.js';

const find = (id) => document.getElementById(id);
const given = JSON.parse(find('layout').textContent);
const shapes = { lines: given.lines, zones: given.zones };
const history = [];
let known = given.known, dirty = false, asked = 0, timer = 0;

const picture = new Picture(find('picture'), shapes, given.may_draw, {
  before: remember,
  change: changed,
  add,
  remove,
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
  made.append(element('legend', {}, name), input(shape, IDS[list], 'name', { maxlength: 64, required: '' }), kinds(list, shape, kind));
  if (kind === 'entrance') made.append(input(shape, 'entrance', 'entrance shared with', { maxlength: 64, placeholder: 'no other line' }));
  if (kind === 'staff') made.append(input(shape, 'staff_after', 'staff after seconds', { type: 'number', min: 1 }));
  const buttons = element('p', { class: 'buttons' });
  if (list === 'lines' && kind !== 'passing') buttons.append(button('Turn the arrow', () => [shape.a, shape.b] = [shape.b, shape.a]));
  const last = element('button', { type: 'button', 'aria-label': `Delete ${name} ${shape[IDS[list]]}` }, 'Delete');
  last.addEventListener('click', () => remove(place));
  buttons.append(last);
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
    });
    document.querySelector(`[data-place="${place}"] select`).focus();
  });
  return element('label', {}, 'kind', made);
}

function button(text, action) {
  const made = element('button', { type: 'button' }, text);
  made.addEventListener('click', () => change(action));
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
  if (!answer) return [0, { message: 'The console does not answer. What you have drawn is still here: try again.' }];
  if (answer.status === 401) return [401, { message: 'You are signed out: sign in in another tab, then go on here.' }];
  const found = await answer.json().catch(() => ({}));
  return [answer.status, { message: found.detail ? JSON.stringify(found.detail) : `The console answered ${answer.status}.`, ...found }];
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
  const { faults, notes } = picture.findings, all = [...faults.map((f) => ['bad', f]), ...notes.map((n) => ['warn', n])];
  document.querySelectorAll('.findings').forEach((list) => list.replaceChildren());
  document.querySelectorAll('[aria-invalid]').forEach((one) => one.removeAttribute('aria-invalid'));
  const general = [];
  for (const [kind, { text, shapes: places, field }] of all) {
    const item = () => element('li', { class: kind }, `${kind === 'bad' ? '✗' : '▲'} ${text}.`);
    const lists = field === 'valid_from' ? [find('valid-from-faults')] : places.map((p) => find(`${p}-findings`)).filter(Boolean);
    lists.forEach((list) => list.append(item()));
    if (!lists.length) general.push(item());
    if (kind === 'bad') places.forEach((p) => document.querySelector(`[data-place="${p}"] [data-field="${field}"]`)?.setAttribute('aria-invalid', 'true'));
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
  const note = element('div', { class: 'note good' }, element('p', {}, element('strong', {}, `✓ Saved as layout ${version}, valid from ${from}.`),
    isFuture ? ' Until then the layout before counts.' : ' Streams that run count with it within seconds.'));
  if (recompute) {
    const cost = recompute.frames === null ? '' : ` It reads ${recompute.frames.toLocaleString('en')} frames: about ${recompute.minutes} min.`;
    const when = recompute.not_before ? ` From ${recompute.not_before} on, when the hour is over,` : '';
    note.append(element('p', {}, `Recompute since ${recompute.start}:${when} run this where storelake runs.${cost}`), element('pre', {}, element('code', {}, recompute.command)));
  }
  find('result').replaceChildren(note);
}

// ---- what is behind the layout
async function behind(kind) {
  const answer = kind && await fetch(`/zones/${kind}?camera=${encodeURIComponent(given.camera)}`).catch(() => null);
  const problem = (text) => { find('hint').textContent = text; find('behind-it').value = ''; find('behind').replaceChildren(); };
  if (!kind) return problem('');
  if (!answer?.ok) return problem((await answer?.json().catch(() => null))?.message ?? 'The console does not answer.');
  const blob = await answer.blob(), reader = new FileReader(), image = new Image();
  await new Promise((done) => { reader.onload = done; reader.readAsDataURL(blob); });
  image.src = reader.result;
  await image.decode();
  picture.height = Math.round((800 * image.naturalHeight) / image.naturalWidth);
  find('picture').setAttribute('viewBox', `0 0 800 ${picture.height}`);
  find('room').setAttribute('height', picture.height);
  find('behind').replaceChildren(element('image', { href: reader.result, width: 800, height: picture.height }));
  const taken = answer.headers.get('X-Captured-At');
  find('hint').textContent = taken ? `Taken at ${taken}. It is not stored.` : '';
  picture.render();
}

if (given.may_draw) {
  for (const list of ['line', 'zone']) find(`draw-${list}`).addEventListener('click', (event) => picture.start(`${list}s`, event.detail === 0));
  find('undo').addEventListener('click', undo);
  find('behind-it').addEventListener('change', ({ target }) => behind(target.value));
  find('shapes').addEventListener('submit', (event) => event.preventDefault());
  find('valid-from').addEventListener('input', () => { document.querySelector('[value=then]').checked = true; });
  find('save').addEventListener('input', () => { if (dirty) changed(); });
  find('save').addEventListener('submit', (event) => { event.preventDefault(); save(); });
  window.addEventListener('beforeunload', (event) => { if (dirty) event.preventDefault(); });
  check();
}
rows();
picture.render();
