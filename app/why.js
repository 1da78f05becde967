// Hands the explanation of a segment to the stage, which shows it beside the picture.
watch("value", () => document.dispatchEvent(new CustomEvent("eovseg-why", { detail: props.value })));
