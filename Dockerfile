# The page on a CPU: docker build -t eovseg . && docker run -p 7860:7860 eovseg
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 page
WORKDIR /srv/eovseg

# The CPU builds of torch, in the versions of requirements.txt, before the rest: pip keeps what is already there.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt ./
RUN grep -E '^(torch|torchvision)==' requirements.txt > torch.txt && pip install --no-cache-dir --index-url "$TORCH_INDEX" -r torch.txt
RUN pip install --no-cache-dir -r requirements.txt

COPY pyproject.toml README.md LICENSE NOTICE ./
COPY eovseg ./eovseg
COPY analysis ./analysis
COPY app ./app
COPY assets ./assets
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

USER page
ENV PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["python", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:7860/config', timeout=8).read(1)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "7860"]
