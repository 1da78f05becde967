// Passes the explanation of a segment to the stage, which shows it over the picture.
watch("value", () => document.dispatchEvent(new CustomEvent("eovseg-why", { detail: props.value })));
