// Leads to the login where the session has ended: the server then refuses the websocket, and the page
// would try to reconnect for ever. So it is also after a new start of the console, which has no session.
const SECONDS = 3;

async function look() {
  if (!window.socket || window.socket.connected) return;
  try {
    const answer = await fetch('/signed_out.js', { redirect: 'manual', headers: { Accept: 'text/html' } });
    if (answer.type === 'opaqueredirect') window.location.reload();
  } catch {
    // The console is away: it is asked again.
  }
}

window.setInterval(look, 1000 * SECONDS);
