"use strict";
// A picture is shrunk and written anew before it is sent: it arrives sooner, and without the place where it was taken.
const LONGEST = 1280, QUALITY = 0.92, SMALLEST_BOX = 0.04, STEP = 0.03;
const byId = (id) => document.getElementById(id);
const frame = byId("frame"), canvas = byId("picture"), boxView = byId("box"), whole = byId("whole"), status = byId("status"), list = byId("products");
let picture = null;  // {blob, width, height}: what is sent; null: none, or one that the browser cannot draw
let box = null;  // {left, top, right, bottom}: shares of the picture's sides
let asking = null;  // the AbortController of the request on its way

function say(text, bad) {
  status.textContent = text;
  status.classList.toggle("bad", Boolean(bad));
}

async function take(file) {
  if (!file) return;
  box = null;
  showBox();
  say("Reading the picture …");
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    // Not for this browser; the server may know its kind. There is nothing to draw a box on.
    picture = { blob: file, width: 0, height: 0 };
    byId("own").hidden = true;
    return ask();
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  picture = { blob, width: canvas.width, height: canvas.height };
  byId("own").hidden = false;
  return ask();
}

async function ask() {
  if (!picture) return;
  if (asking) asking.abort();
  const own = asking = new AbortController();
  say("Looking for similar products …");
  const where = box && picture.width ? "?box=" + encodeURIComponent(pixels().join(" ")) : "";
  try {
    const answer = await fetch("/similar" + where, { method: "POST", body: picture.blob, signal: own.signal });
    const said = await answer.json();
    if (own !== asking) return;
    if (!answer.ok) {
      list.replaceChildren();
      return say(said.message, true);
    }
    list.replaceChildren(...said.similar.map(card));
    const count = said.similar.length;
    say(count === 0 ? "No similar products" : count === 1 ? "1 similar product" : count + " similar products");
  } catch (error) {
    if (error.name !== "AbortError") say("The server cannot be reached", true);
  }
}

function pixels() {
  const across = (share) => Math.round(share * picture.width), down = (share) => Math.round(share * picture.height);
  return [across(box.left), down(box.top), across(box.right), down(box.bottom)];
}

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function card(product) {
  const item = element("li"), photo = element("span", "photo"), about = element("div", "about");
  const image = element("img"), name = element("span", "name");
  image.src = product.picture;
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => photo.replaceChildren("no picture"));
  photo.append(image);
  const title = product.name || product.product_id;
  if (product.link) {
    const link = element("a", "", title);
    link.href = product.link;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    name.append(link);
  } else {
    name.textContent = title;
  }
  about.append(name);
  if (product.price !== null) {
    about.append(element("span", "price", product.price.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 })));
  }
  if (product.in_stock !== null) about.append(element("span", product.in_stock ? "in" : "out", product.in_stock ? "In stock" : "Out of stock"));
  if (product.category) about.append(element("span", "soft", product.category));
  item.append(photo, about);
  return item;
}

// -- the box ------------------------------------------------------------------------------------------------------

function showBox() {
  boxView.hidden = box === null;
  whole.disabled = box === null;
  if (box === null) return;
  Object.assign(boxView.style, {
    left: 100 * box.left + "%", top: 100 * box.top + "%",
    width: 100 * (box.right - box.left) + "%", height: 100 * (box.bottom - box.top) + "%",
  });
}

const within = (value) => Math.min(1, Math.max(0, value));
let start = null;  // where a drag began

function at(event) {
  const edges = canvas.getBoundingClientRect();
  return [within((event.clientX - edges.left) / edges.width), within((event.clientY - edges.top) / edges.height)];
}

frame.addEventListener("pointerdown", (event) => {
  if (!event.isPrimary || event.button !== 0) return;
  start = at(event);
  frame.setPointerCapture(event.pointerId);
});
frame.addEventListener("pointermove", (event) => {
  if (!start) return;
  const [x, y] = at(event);
  const drawn = { left: Math.min(x, start[0]), top: Math.min(y, start[1]), right: Math.max(x, start[0]), bottom: Math.max(y, start[1]) };
  if (drawn.right - drawn.left < SMALLEST_BOX || drawn.bottom - drawn.top < SMALLEST_BOX) return;
  box = drawn;
  showBox();
});
for (const end of ["pointerup", "pointercancel"]) {
  frame.addEventListener(end, () => {
    if (start && box) ask();
    start = null;
  });
}

let later = 0;
frame.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
  if (event.key === "Escape" && box) box = null;
  else if (event.key === "Enter" && !box) box = { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
  else if (event.key in moves && box) move(...moves[event.key], event.shiftKey);
  else return;
  event.preventDefault();
  showBox();
  clearTimeout(later);
  later = setTimeout(ask, 400);  // after the last of several keys
});

function move(across, down, size) {
  if (size) {
    box.right = within(Math.max(box.left + SMALLEST_BOX, box.right + across));
    box.bottom = within(Math.max(box.top + SMALLEST_BOX, box.bottom + down));
    return;
  }
  across = Math.min(1 - box.right, Math.max(-box.left, across));
  down = Math.min(1 - box.bottom, Math.max(-box.top, down));
  box = { left: box.left + across, top: box.top + down, right: box.right + across, bottom: box.bottom + down };
}

whole.addEventListener("click", () => {
  box = null;
  showBox();
  frame.focus();
  ask();
});

// -- where pictures come from -------------------------------------------------------------------------------------

for (const id of ["take", "choose"]) {
  byId(id).addEventListener("change", (event) => {
    const file = event.target.files[0];
    event.target.value = "";  // the same picture may be chosen again
    take(file);
  });
}
const main = document.querySelector("main");
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  main.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) main.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  main.classList.remove("over");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files[0]));
byId("ask").addEventListener("submit", (event) => event.preventDefault());
