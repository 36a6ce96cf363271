defmodule AxonPort.Worker.Report do
  @moduledoc """
  What a worker's process tells of runs, calls and itself, as `AxonPort.Telemetry` describes it.

  Each beginning is told to the `AxonPort.Worker.Witness` as well, who tells of the end if the process cannot.
  """

  alias AxonPort.{Error, Request, Result, Telemetry}
  alias AxonPort.Worker.{Calls, Witness}

  @typedoc "Something that was told to have begun."
  @type span :: {kind :: :run | :stream | :tool | :worker, started_at :: integer, metadata :: map}

  @doc "A request has come; it is told of if it is a run. The time is for its end."
  @spec run_started(pid, Request.t()) :: integer
  def run_started(witness, request) do
    if Request.run?(request),
      do: started(witness, request.id, request.kind, of_run(request)),
      else: System.monotonic_time()
  end

  defp started(witness, key, kind, metadata, task \\ nil) do
    started_at = Telemetry.start(kind, metadata)
    Witness.began(witness, key, {{kind, started_at, metadata}, task})
    started_at
  end

  @doc "A request has its outcome."
  @spec run_ended(pid, Request.t(), {:ok, term} | {:error, Error.t()}) :: :ok
  def run_ended(witness, %Request{kind: kind} = request, outcome) when kind in [:run, :stream] do
    Witness.ended(witness, request.id)

    case outcome do
      {:ok, %Result{usage: usage}} ->
        Telemetry.stop(kind, request.started_at, of_run(request), cost(usage))

      {:error, %Error{} = error} ->
        failure = %{reason: error.reason, error_type: error.error_type}
        Telemetry.exception(kind, request.started_at, of_run(request), failure, cost(error.usage))
    end
  end

  def run_ended(_witness, _command, _outcome), do: :ok

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

  @doc "A task works on a call. Approvals are people's time and nothing to measure."
  @spec call_started(pid, :tool | :approval, map, pid) :: integer
  def call_started(witness, :tool, metadata, task) do
    started(witness, metadata.call_id, :tool, metadata, task)
  end

  def call_started(witness, :approval, metadata, task) do
    Witness.began(witness, metadata.call_id, {nil, task})
    System.monotonic_time()
  end

  @doc "A call has its answer; a text says why it failed, if it did."
  @spec call_ended(pid, Calls.entry(), String.t() | nil) :: :ok
  def call_ended(witness, entry, failure) do
    Witness.ended(witness, entry.call_id)

    case {entry.kind, failure} do
      {:approval, _failure} -> :ok
      {:tool, nil} -> Telemetry.stop(:tool, entry.started_at, entry.metadata)
      {:tool, text} -> call_failed(entry, text)
    end
  end

  @doc "A call was given up."
  @spec call_dropped(pid, Calls.entry()) :: :ok
  def call_dropped(witness, entry) do
    Witness.ended(witness, entry.call_id)
    if entry.kind == :tool, do: call_failed(entry, :cancelled), else: :ok
  end

  defp call_failed(entry, reason) do
    Telemetry.exception(:tool, entry.started_at, entry.metadata, %{reason: reason, error_type: nil})
  end

  @doc "A worker's process has started its worker."
  @spec worker_started(pid, pos_integer | nil) :: {integer, map}
  def worker_started(witness, os_pid) do
    metadata = %{worker: self(), os_pid: os_pid}
    {started(witness, :worker, :worker, metadata), metadata}
  end

  @doc "A worker's process ends."
  @spec worker_ended(pid, {integer, map}, term) :: :ok
  def worker_ended(witness, {started_at, metadata}, reason) do
    Witness.ended(witness, :worker)

    if reason in [:normal, :shutdown],
      do: Telemetry.stop(:worker, started_at, metadata),
      else: Telemetry.exception(:worker, started_at, metadata, %{reason: reason, error_type: nil})
  end

  @doc "The process that had begun this was killed, and this is its witness."
  @spec cut_off(span, term) :: :ok
  def cut_off({kind, started_at, metadata}, reason) do
    failure = %{reason: cut_off_reason(kind, reason), error_type: nil}
    Telemetry.exception(kind, started_at, metadata, failure, cut_off_cost(kind))
  end

  # As everybody else is told.
  defp cut_off_reason(:worker, reason), do: reason
  defp cut_off_reason(:tool, _reason), do: :cancelled
  defp cut_off_reason(_run, _reason), do: :worker_exited

  defp cut_off_cost(kind), do: if(kind in [:run, :stream], do: cost(nil), else: %{})
end
