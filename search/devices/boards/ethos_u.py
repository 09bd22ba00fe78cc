"""What a model costs on an Ethos-U accelerator: Vela's word, on a skeleton before training and on what ships."""

from dataclasses import replace

from ..graph import Graph
from ..memory import about_states
from ..profile import Figure, Profile
from .board import EthosUBoard
from .skeleton import skeleton
from .vela import VelaResult, simulate

RUNTIME = "ethos-u"


class EthosU:
    """The figures of one accelerator."""

    def __init__(self, board: EthosUBoard) -> None:
        self.board = board
        self.name = board.name

    def simulate(self, content: bytes) -> VelaResult:
        """Vela's summary of a ``.tflite`` model, kept on disk; raises as ``vela.simulate`` does."""
        board = self.board
        return simulate(content, board.accelerator, system_config=board.system_config, memory_mode=board.memory_mode)

    def profile_lowered(self, graph: Graph) -> Profile:
        """The figures of an int8 graph of TFLite operators, from a file with made-up weights.

        Vela compresses weights, and uniform ones compress worst: trained ones need about the same flash or less.
        """
        return self._profile(graph, self.simulate(skeleton(graph)), "with made-up weights")

    def profile_file(self, content: bytes, graph: Graph) -> Profile:
        """The figures of a ``.tflite`` file, whatever operators it has; ``graph`` is what was read from it."""
        return self._profile(graph, self.simulate(content), "on the file")

    def _profile(self, graph: Graph, result: VelaResult, weights: str) -> Profile:
        latency, memory, flash = self._figures(result, weights, graph)
        blind = f"without {', '.join(graph.unknown)}" if graph.unknown else None
        return Profile(
            device=self.name,
            runtime=RUNTIME,
            precision="int8",
            graph_digest=graph.digest,
            latency_us=latency,
            peak_memory_bytes=memory,
            flash_bytes=flash,
            macs=Figure(graph.macs, "MACs", "exact", blind),
            parameters=Figure(graph.parameters, "values", "exact", None),
            unknown_operators=_unknown(graph.unknown, result),
        )

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """``planned`` with what Vela says of the file that ships."""
        from ..tflite.read import read_tflite

        result = self.simulate(content)
        unknown = _unknown(planned.unknown_operators, result)
        latency, memory, flash = self._figures(result, "on the file that ships", read_tflite(content))
        return replace(
            planned, latency_us=latency, peak_memory_bytes=memory, flash_bytes=flash, unknown_operators=unknown
        )

    def _figures(self, result: VelaResult, weights: str, graph: Graph) -> tuple[Figure, Figure, Figure]:
        """Latency, memory and flash; with Shared_Sram only constants lie outside SRAM (see ``board.MEMORY_MODES``)."""
        left = f"; without {', '.join(dict.fromkeys(result.cpu_operators))}, which the processor runs"
        time = f"Vela {weights}: {self.board.error}{left if result.cpu_operators else ''}"
        constants = f"Vela's constants outside SRAM, {weights}; the driver's code is not counted"
        return (
            Figure(result.latency_us, "us", "simulated", time),
            Figure(result.sram_bytes, "bytes", "simulated", f"SRAM of Vela's plan, {weights}{about_states(graph)}"),
            Figure(result.off_chip_flash_bytes + result.dram_bytes, "bytes", "simulated", constants),
        )


def _unknown(known: tuple[str, ...], result: VelaResult) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *result.cpu_operators)))
