"""The faults that are known by name: what is said about each, and how it is fixed."""

from normlab.check import faults_of_output, faults_of_state

FAULTS = faults_of_output.FAULTS | faults_of_state.FAULTS
