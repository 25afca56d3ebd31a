// What a person does goes to the server in turn, and no answer is lost. Gradio 6.31 has two gaps here, which
// quick clicks meet:
// - its server ends the stream of answers as soon as none is awaited; the client, if it is told of a new event
//   before it is told of the end, goes on believing in the stream, and the event's answer stays on the server;
// - a second act of a view is dropped while the first one has no answer yet (and acts side by side would each
//   begin from the same state, so that one of them would be undone).
// A tab that is about to be drawn from its address holds up what is done in it: drawn late, it would undo that.
// So does a live view that is asked for; it is asked only while nothing that was done waits for its answer.
(() => {
  "use strict";
  const PATIENCE_MS = 10000; // an act that takes longer does not hold up the next one
  const SETTLE_MS = 30; // the client takes in an answer, and starts what follows from it
  const request = window.fetch.bind(window);

  // -- what is awaited: events on their way to the queue, and those without their last answer ---------------------
  const awaited = new Set();
  const early = new Map(); // event -> whether it ended, where its answer outran the number it was given
  let posts = 0;

  async function post(target, options) {
    const asked = JSON.parse(options.body);
    const follows = live(asked.fn_index);
    while (follows && (underWay || line.length || drawing.size)) await new Promise((go) => setTimeout(go, SETTLE_MS));
    const act = asked.event_data?.act ? underWay : null;
    const opens = draws(asked.fn_index);
    const view = follows || opens ? (opens && opening) || hold() : null;
    if (opens) opening = null;
    const question = {};
    awaited.add(question);
    posts += 1;
    try {
      const response = await request(target, options);
      const { event_id: id } = response.ok ? await response.clone().json() : {};
      if (id && !early.get(id)) awaited.add(id);
      if (act) act.id = id;
      if (act && (!id || early.has(id))) settle(act);
      if (view) view.id = id;
      if (view && (!id || early.get(id))) settle(view);
      early.delete(id);
      return response;
    } finally {
      awaited.delete(question);
      posts -= 1;
    }
  }
  function hear({ msg, event_id: id }) {
    const ended = msg === "process_completed";
    if (!id || !(ended || msg === "process_generating")) return;
    if (!awaited.has(id)) early.set(id, ended);
    if (ended) awaited.delete(id);
    if (underWay && underWay.id === id) settle(underWay);
    if (ended) [...drawing].filter((view) => view.id === id).forEach(settle);
  }

  // -- the stream: it ends only where nothing is awaited -----------------------------------------------------------
  async function* messages(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const whole = (rest + part.value).split("\n\n");
      rest = whole.pop();
      yield* whole;
    }
  }
  async function relay(target, first, out) {
    for (let response = first; ; ) {
      let end = null;
      for await (const message of messages(response.body)) {
        const said = JSON.parse(message.slice(message.indexOf("{")));
        hear(said);
        if (said.msg === "close_stream") end = message;
        else out.enqueue(`${message}\n\n`);
      }
      const goesOn = end && awaited.size > 0;
      if (goesOn) response = await request(target);
      if (!goesOn || !response.ok) {
        if (end) out.enqueue(`${end}\n\n`);
        return out.close();
      }
    }
  }
  async function stream(target) {
    const first = await request(target);
    if (!first.ok) return first;
    const start = (out) => { relay(target, first, out).catch((error) => out.error(error)); };
    const body = new ReadableStream({ start }).pipeThrough(new TextEncoderStream());
    return new Response(body, { headers: first.headers });
  }

  window.fetch = (target, options) => {
    const path = new URL(target.url || target, location.href).pathname;
    if (path.endsWith("/queue/data")) return stream(target);
    return path.endsWith("/queue/join") ? post(target, options) : request(target, options);
  };

  // -- acts in turn -------------------------------------------------------------------------------------------------
  const line = [];
  let underWay = null;
  function next() {
    if (underWay || drawing.size || !line.length) return;
    const { act, over } = line.shift();
    const begun = underWay = { id: null, over };
    setTimeout(() => done(begun), PATIENCE_MS);
    act();
  }
  function settle(begun) {
    setTimeout(() => (posts ? settle(begun) : done(begun)), SETTLE_MS);
  }
  function done(begun) {
    if (underWay === begun) underWay = null;
    else if (!drawing.delete(begun)) return;
    if (begun.over) begun.over();
    next();
  }

  // -- views that are about to be drawn -----------------------------------------------------------------------------
  const drawing = new Set();
  let opening = null; // the tab was clicked, its question is not on its way yet
  const dependencies = () => window.gradio_config.dependencies;
  const targets = (id) => dependencies().find((each) => each.id === id)?.targets || [];
  function draws(id) { // Home is on the screen before the first answer, which takes what was done meanwhile into account
    const arrives = new URLSearchParams(location.search).has("tab");
    return targets(id).some(([, event]) => event === "select" || (event === "load" && arrives));
  }
  function live(id) { // whether this follows from a tick
    const ticks = dependencies().filter((each) => each.targets.some(([, event]) => event === "tick"));
    return targets(id).some(([state, event]) => event === "change" && ticks.some((t) => t.outputs.includes(state)));
  }
  function hold() {
    const view = { id: null };
    drawing.add(view);
    setTimeout(() => done(view), PATIENCE_MS);
    return view;
  }
  window.studioOpens = (over) => { opening ||= hold(); opening.over = over; };
  window.studioInTurn = (act, over) => { line.push({ act, over }); next(); };
})();
