// Server-sent events of a POST, which EventSource cannot send.

/** The events of a response as they arrive, `{event, data}`; data is parsed JSON, `[DONE]` ends them.
 *
 * Source: WHATWG HTML, "Server-sent events", parsing an event stream. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      waiting += value ?? "";
      const blocks = waiting.split(/\r\n\r\n|\n\n|\r\r/);
      waiting = done ? "" : blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event === null) continue;
        if (event.data === "[DONE]") return;
        yield { event: event.name, data: JSON.parse(event.data) };
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {}); // the server notices that nobody reads any more
  }
}

function parse(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") name = value;
    else if (field === "data") data.push(value); // a line that starts with a colon is a comment
  }
  return data.length > 0 ? { name, data: data.join("\n") } : null;
}
