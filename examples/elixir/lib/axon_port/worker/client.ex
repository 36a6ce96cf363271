defmodule AxonPort.Worker.Client do
  @moduledoc """
  How callers ask the process that owns a worker: `AxonPort.Worker.call/2` and `AxonPort.Worker.open/3`.

  The owner's timer bounds the wait. A caller waits a little longer than that and no more: an owner that hangs has no timer
  either.
  """

  alias AxonPort.{Error, Request, Worker}

  @slack_ms 2_000

  @doc "See `AxonPort.Worker.call/2`."
  @spec call(Worker.server(), Request.t()) :: {:ok, term} | {:error, Error.t()}
  def call(worker, request), do: ask(worker, request, &{:request, &1})

  @doc "See `AxonPort.Worker.open/3`."
  @spec open(Worker.server(), Request.t(), pid | :alias) :: {:ok, Worker.opened()} | {:error, Error.t()}
  def open(worker, request, :alias) do
    ref = :erlang.monitor(:process, worker, alias: :demonitor)

    with {:error, error} <- open(worker, %{request | ref: ref}, ref) do
      Process.demonitor(ref, [:flush])
      {:error, error}
    end
  end

  def open(worker, request, sink) do
    with {:ok, id} <- ask(worker, request, &{:open, &1, sink}),
         do: {:ok, %{worker: worker, id: id, ref: request.ref}}
  end

  defp ask(worker, request, message) do
    GenServer.call(worker, message.(%{request | owner: request.owner || self()}), patience(request))
  catch
    :exit, {:timeout, _call} -> given_up(worker, request)
    :exit, {reason, _call} -> {:error, gone(reason)}
  end

  defp patience(%Request{timeout: :infinity}), do: :infinity
  defp patience(%Request{timeout: timeout, margin: margin}), do: timeout + margin + @slack_ms

  # It may still take what it was sent, and then somebody has to tell it that nobody waits.
  defp given_up(worker, request) do
    if request.ref, do: Worker.leave(worker, request.ref)
    {:error, Error.new(:owner_timeout, "the worker's process does not answer")}
  end

  # Whatever it took over it has answered before an orderly end: this it never heard of, and another one can be asked.
  defp gone(reason) when reason in [:noproc, :normal, :shutdown],
    do: Error.new(:not_ready, "the worker has gone")

  defp gone({:shutdown, _reason}), do: Error.new(:not_ready, "the worker has gone")
  defp gone(reason), do: Error.new(:worker_exited, %{reason: reason})
end
