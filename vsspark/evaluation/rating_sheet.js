"use strict";
const form = document.querySelector("form");
const sheet = form.dataset.sheet;
const pairs = [...form.querySelectorAll("fieldset")].map((field) => field.dataset.pair);
const remembered = "ratings of " + sheet; // the browser keeps what was rated so far, should the page be closed

function rated() {
  return pairs.map((pair) => [pair, form.elements["pair-" + pair].value]).filter(([, rating]) => rating);
}

function toCsv() {
  return ["sheet,pair,rating", ...rated().map(([pair, rating]) => [sheet, pair, rating].join(","))].join("\r\n") + "\r\n";
}

function refresh() {
  const done = rated();
  document.querySelector("output").textContent = done.length + " of " + pairs.length + " rated";
  try {
    localStorage.setItem(remembered, JSON.stringify(done));
  } catch (error) {
    // a browser that forbids it only forgets
  }
}

function restore() {
  try {
    for (const [pair, rating] of JSON.parse(localStorage.getItem(remembered) || "[]")) {
      form.elements["pair-" + pair].value = rating;
    }
  } catch (error) {
    // as above
  }
}

function save() {
  const name = document.querySelector("#rater").value.replace(/[^\p{L}\p{N}]+/gu, "-") || "anonymous";
  const link = document.createElement("a");
  link.download = "ratings-" + sheet + "-" + name + ".csv";
  link.href = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

form.addEventListener("change", refresh);
document.querySelector("#save").addEventListener("click", save);
restore();
refresh();
