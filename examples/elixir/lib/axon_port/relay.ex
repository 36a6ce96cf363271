defmodule AxonPort.Relay do
  @moduledoc """
  The process between a worker and somebody who wants messages (`AxonPort.run/4`).

  It keeps one promise: one terminal message, `{:axon_port, ref, {:result, _}}` or `{:axon_port, ref, {:error, _}}`,
  even where the process that owns the worker is killed. It ends with that message, or with its owner.
  """

  alias AxonPort.{Error, Request, Result, Worker}

  @doc "Opens a request at a worker, with a relay between that and whoever wants its messages."
  @spec open(Worker.server(), Request.t()) :: {:ok, Worker.opened()} | {:error, Error.t()}
  def open(worker, %Request{ref: ref} = request) do
    relay = start(request)

    case Worker.open(worker, request, relay) do
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
    {:ok, relay} =
      Task.start(fn ->
        owner_monitor = Process.monitor(owner)

        receive do
          {^ref, worker} ->
            relay(%{owner: owner, owner_monitor: owner_monitor, ref: ref, output: output}, worker)

          {:DOWN, ^owner_monitor, :process, _pid, _reason} ->
            :ok
        end
      end)

    relay
  end

  defp relay(state, worker), do: pass_on(Map.put(state, :worker_monitor, Process.monitor(worker)))

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
