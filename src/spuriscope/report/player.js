(function () {
  "use strict";
  var box = document.getElementById("play");
  var all = JSON.parse(document.getElementById("play-data").textContent);
  var get = function (id) { return document.getElementById("play-" + id); };
  var percent = function (share) {
    var rounded = Math.round(100 * share);
    if (share > 0 && rounded === 0) { return "< 1 %"; }
    if (share < 1 && rounded === 100) { return "> 99 %"; }
    return rounded + " %";
  };
  var bar = function (id, share) {
    get(id).textContent = percent(share);
    get(id + "-bar").style.width = 100 * share + "%";
  };
  var show = function () {
    var image = +get("image").value, count = +get("count").value, strength = +get("strength").value;
    var pattern = all.patterns[+get("pattern").value];
    var answer = pattern.answers[count][strength][image];
    get("clean").src = all.images[image];
    get("stamped").src = strength === 0 ? all.images[image] : pattern.pictures[strength - 1][image];
    get("planted").textContent = all.counts[count];
    get("share").textContent = 100 * all.strengths[strength] + " %";
    get("says").textContent = "\u2018" + all.names[answer.prediction] + "\u2019";
    get("own-name").textContent = "\u2018" + all.names[all.labels[image]] + "\u2019, what it is";
    bar("target", answer.target);
    bar("own", answer.own);
  };
  ["image", "pattern", "count", "strength"].forEach(function (id) { get(id).addEventListener("input", show); });
  ["clean", "stamped"].forEach(function (id) {
    get(id).addEventListener("load", function () {  // by whole numbers of pixels
      var wide = this.naturalWidth;
      var scale = wide <= 140 ? Math.floor(140 / wide) : 1 / Math.ceil(wide / 140);
      this.style.width = wide * scale + "px";
    });
  });
  box.hidden = false;
  show();
})();
