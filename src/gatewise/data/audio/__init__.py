# SPDX-License-Identifier: Apache-2.0
"""Sound as numbers: WAV files in, log-mel frames out, in one piece or as a stream, with the same bits."""

from gatewise.data.audio.log_mel import LogMel as LogMel
from gatewise.data.audio.log_mel import mel_filters as mel_filters
from gatewise.data.audio.stream import LogMelStream as LogMelStream
from gatewise.data.audio.wav import read_wav as read_wav
from gatewise.data.audio.wav import write_wav as write_wav
