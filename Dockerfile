# docker build -t parley . && docker run --rm -it -v "$PWD/runs:/work/runs" parley episode --plain
FROM python:3.11-slim

RUN useradd --create-home parley
WORKDIR /opt/parley
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY envs envs
COPY models models
COPY agents agents
COPY rewards rewards
COPY run run
COPY parley parley
COPY recipes recipes
# The build of torch for CPUs; for a GPU leave the second index out.
RUN pip install --no-cache-dir --constraint constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu --editable '.[api]'

USER parley
WORKDIR /work
ENTRYPOINT ["parley"]
CMD ["--help"]
