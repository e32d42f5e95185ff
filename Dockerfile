# For workshops: everything compiled, `docker run -p 8888:8888 candle-lens` opens at once.
#   docker build -t candle-lens .
FROM rust:1.95-bookworm
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends python3 python3-venv lld \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home student
USER student
# The launcher writes .lab/ and target/ there; the folder that WORKDIR makes belongs to root under Docker's older builder.
RUN mkdir /home/student/candle-lens
WORKDIR /home/student/candle-lens
COPY --chown=student . .
# The launcher's own steps; they leave the Jupyter environment, the kernel and its warm template in the image.
RUN cargo lab setup
EXPOSE 8888
CMD ["cargo", "lab", "--no-browser", "--", "--ip=0.0.0.0"]
