defmodule AxonPort.Worker.Report do
  @moduledoc "What a worker's process tells of runs, calls and itself, as `AxonPort.Telemetry` describes it."

  alias AxonPort.{Error, Request, Result, Telemetry}

  @doc "A request has come; it is told of if it is a run. The time is for its end."
  @spec run_started(Request.t()) :: integer
  def run_started(request) do
    if Request.run?(request),
      do: Telemetry.start(request.kind, of_run(request)),
      else: System.monotonic_time()
  end

  @doc "A request has its outcome."
  @spec run_ended(Request.t(), {:ok, term} | {:error, Error.t()}) :: :ok
  def run_ended(%Request{kind: kind} = request, outcome) when kind in [:run, :stream] do
    case outcome do
      {:ok, %Result{usage: usage}} ->
        Telemetry.stop(kind, request.started_at, of_run(request), cost(usage))

      {:error, %Error{} = error} ->
        failure = %{reason: error.reason, error_type: error.error_type}
        Telemetry.exception(kind, request.started_at, of_run(request), failure, cost(error.usage))
    end
  end

  def run_ended(_command, _outcome), do: :ok

  defp of_run(request), do: %{worker: self(), agent_id: request.agent_id, ref: request.ref}

  defp cost(nil), do: cost(%{})

  defp cost(usage) do
    for key <- [:requests, :input_tokens, :output_tokens, :tool_calls], into: %{} do
      {key, Map.get(usage, Atom.to_string(key), 0)}
    end
  end

  @doc "What is told of a call."
  @spec of_call(Request.t(), map) :: map
  def of_call(request, %{"name" => name, "call_id" => call_id}) do
    Map.merge(of_run(request), %{tool: name, call_id: call_id})
  end

  @doc "A call has come. Approvals are people's time and nothing to measure."
  @spec call_started(:tool | :approval, map) :: integer
  def call_started(:tool, metadata), do: Telemetry.start(:tool, metadata)
  def call_started(:approval, _metadata), do: System.monotonic_time()

  @doc "A call's task has ended with this outcome."
  @spec call_ended(AxonPort.Worker.Calls.entry(), term) :: :ok
  def call_ended(%{kind: :approval}, _outcome), do: :ok
  def call_ended(entry, {:exit, reason}), do: call_failed(entry, reason)
  def call_ended(entry, {:error, reason}), do: call_failed(entry, reason)
  def call_ended(entry, {:error, message, _details}), do: call_failed(entry, message)
  def call_ended(entry, _answer), do: Telemetry.stop(:tool, entry.started_at, entry.metadata)

  @doc "A call was given up."
  @spec call_dropped(AxonPort.Worker.Calls.entry()) :: :ok
  def call_dropped(%{kind: :approval}), do: :ok
  def call_dropped(entry), do: call_failed(entry, :cancelled)

  defp call_failed(entry, reason) do
    Telemetry.exception(:tool, entry.started_at, entry.metadata, %{reason: reason, error_type: nil})
  end

  @doc "A worker's process has started its worker."
  @spec worker_started(pid, pos_integer | nil) :: {integer, map}
  def worker_started(worker, os_pid) do
    metadata = %{worker: worker, os_pid: os_pid}
    {Telemetry.start(:worker, metadata), metadata}
  end

  @doc "A worker's process ends."
  @spec worker_ended({integer, map}, term) :: :ok
  def worker_ended({started_at, metadata}, reason) when reason in [:normal, :shutdown] do
    Telemetry.stop(:worker, started_at, metadata)
  end

  def worker_ended({started_at, metadata}, reason) do
    Telemetry.exception(:worker, started_at, metadata, %{reason: reason, error_type: nil})
  end
end
