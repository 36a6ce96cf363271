defmodule AxonPort.Relay do
  @moduledoc """
  The process between a worker and somebody who wants messages (`AxonPort.run/4`).

  It keeps one promise: one terminal message, `{:axon_port, ref, {:result, _}}` or `{:axon_port, ref, {:error, _}}`,
  even where the process that owns the worker is killed. It ends with that message, or with its owner, or with whoever
  opens it if that is before it was handed over: then nobody would know of its run.

  To the worker it is the owner of the run, so that the run is cancelled wherever it ends.
  """

  alias AxonPort.{Error, Request, Result, Worker}

  @doc "Opens a request at a worker, with a relay between that and whoever wants its messages."
  @spec open(Worker.server(), Request.t()) :: {:ok, Worker.opened()} | {:error, Error.t()}
  def open(worker, %Request{ref: ref} = request) do
    relay = start(request)

    case Worker.open(worker, %{request | owner: relay}, relay) do
      {:ok, opened} ->
        send(relay, {ref, worker})
        {:ok, opened}

      {:error, error} ->
        Process.exit(relay, :kill)
        {:error, error}
    end
  end

  # It waits to be told of the worker.
  defp start(%Request{owner: owner, ref: ref, output: output}) do
    opener = self()

    {:ok, relay} =
      Task.start(fn ->
        state = %{owner: owner, owner_monitor: Process.monitor(owner), ref: ref, output: output}
        handed_over(state, Process.monitor(opener))
      end)

    relay
  end

  defp handed_over(%{ref: ref, owner_monitor: owner_monitor} = state, opener_monitor) do
    receive do
      {^ref, worker} ->
        Process.demonitor(opener_monitor, [:flush])
        pass_on(Map.put(state, :worker_monitor, Process.monitor(worker)))

      {:DOWN, monitor, :process, _pid, _reason} when monitor in [owner_monitor, opener_monitor] ->
        :ok
    end
  end

  defp pass_on(%{ref: ref, owner_monitor: owner_monitor, worker_monitor: worker_monitor} = state) do
    receive do
      {:axon_port, ^ref, {:chunk, _chunk} = chunk} ->
        tell(state, chunk)
        pass_on(state)

      {:axon_port, ^ref, {:result, result}} ->
        tell_outcome(state, Result.cast(result, state.output))

      {:axon_port, ^ref, {:error, error}} ->
        tell(state, {:error, error})

      {:DOWN, ^worker_monitor, :process, _pid, reason} ->
        tell(state, {:error, Error.new(:worker_exited, %{reason: reason})})

      {:DOWN, ^owner_monitor, :process, _pid, _reason} ->
        :ok
    end
  end

  defp tell_outcome(state, {:ok, result}), do: tell(state, {:result, result})
  defp tell_outcome(state, {:error, error}), do: tell(state, {:error, error})

  defp tell(%{owner: owner, ref: ref}, message), do: send(owner, {:axon_port, ref, message})
end
