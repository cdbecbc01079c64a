// With JavaScript the list can refresh itself. It is off until it is switched on.
"use strict";
(() => {
  const place = document.getElementById("live");
  const results = document.getElementById("results");
  if (!place || !results) {
    return;
  }
  const seconds = 3;
  const box = document.createElement("input");
  box.type = "checkbox";
  box.id = "live-box";
  const label = document.createElement("label");
  label.htmlFor = box.id;
  label.textContent = ` Refresh every ${seconds} seconds`;
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  place.append(box, label, status);

  let timer;
  let busy = false;
  const refresh = async () => {
    if (busy) {
      return;
    }
    busy = true;
    try {
      // Nothing is taken away from under somebody who is in the middle of it.
      if (!document.hidden && !results.contains(document.activeElement)) {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
        if (!answer.ok) {
          throw new Error(String(answer.status));
        }
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("results");
        if (fresh && box.checked) {
          results.replaceChildren(...document.importNode(fresh, true).childNodes);
        }
        status.textContent = "";
      }
    } catch {
      status.textContent = " The server does not answer.";
    }
    busy = false;
    if (box.checked) {
      timer = setTimeout(refresh, seconds * 1000);
    }
  };
  box.addEventListener("change", () => {
    clearTimeout(timer);
    if (box.checked) {
      refresh();
    }
  });
})();
