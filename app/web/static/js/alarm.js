// A sound or a notification when something becomes bad, for whoever has asked for it: `?sound=1`, `?notify=1`.

import { t } from "./i18n.js";

const SECONDS = 0.6;

/** @param {URLSearchParams} asked @returns {((text: string) => void) | null} what raises the alarm; null: nobody wants one */
export function alarmFor(asked) {
  const [sound, notify] = ["sound", "notify"].map((name) => asked.get(name) === "1");
  if (!sound && !notify) return null;
  if (notify && "Notification" in window) {
    // Browsers ask their reader only after he has done something.
    document.addEventListener("click", () => Notification.requestPermission(), { once: true });
  }
  return (text) => {
    if (sound) ring();
    if (notify && "Notification" in window && Notification.permission === "granted") {
      new Notification(t("title"), { body: text, tag: "trouble" });
    }
  };
}

function ring() {
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  tone.frequency.value = 660;
  tone.connect(audio.destination);
  tone.onended = () => audio.close();
  tone.start();
  tone.stop(audio.currentTime + SECONDS);
}
