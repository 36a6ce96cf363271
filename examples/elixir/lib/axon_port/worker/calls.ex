defmodule AxonPort.Worker.Calls do
  @moduledoc """
  The calls of tools that are under way: one task each, found by the call's id and by the task's reference.

  Tasks are started, ended and accounted for here; what is told to the worker is `AxonPort.Session`'s affair.
  """

  alias AxonPort.{Agent, Request, Tool}
  alias AxonPort.Worker.Report

  defstruct by_call: %{}, by_task: %{}

  @typedoc "A call, the task that works on it, and the run that it belongs to."
  @type entry :: %{
          task: Task.t(),
          id: pos_integer,
          call_id: String.t(),
          kind: :tool | :approval,
          metadata: map,
          started_at: integer
        }

  @type t :: %__MODULE__{by_call: %{String.t() => entry}, by_task: %{reference => String.t()}}

  @doc "How many there are."
  @spec count(t) :: non_neg_integer
  def count(calls), do: map_size(calls.by_call)

  @doc """
  Starts a task for a `tool_call` or an `approval_request` of this run. Where nobody here knows the tool, the fields
  of the answer say so.
  """
  @spec start(t, Supervisor.supervisor(), Request.t(), map) :: {:ok, t} | {:refused, map}
  def start(calls, supervisor, request, %{"name" => name} = frame) do
    kind = Map.fetch!(request.calls, frame["call_id"])

    case tool(request.agent, name) do
      {:ok, tool} -> {:ok, put(calls, entry(kind, tool, supervisor, request, frame))}
      :error -> {:refused, refusal(kind, "there is nobody here who runs #{name}")}
    end
  end

  defp tool(%{__struct__: Agent} = agent, name), do: Agent.tool(agent, name)
  defp tool(_unknown, _name), do: :error

  defp refusal(:tool, text), do: %{"error" => text}
  defp refusal(:approval, text), do: %{"approved" => false, "message" => text}

  defp entry(kind, tool, supervisor, request, %{"call_id" => call_id, "args" => args} = frame) do
    metadata = Report.of_call(request, frame)
    context = %{agent: request.agent, call_id: call_id, run_id: request.ref, deps: deps(request)}

    %{
      id: request.id,
      call_id: call_id,
      kind: kind,
      metadata: metadata,
      started_at: Report.call_started(kind, metadata),
      task: start_task(kind, supervisor, tool, args, context)
    }
  end

  defp start_task(:tool, supervisor, tool, args, context),
    do: Tool.Runner.start(supervisor, tool, args, context)

  defp start_task(:approval, supervisor, tool, args, context),
    do: Tool.Runner.approve(supervisor, tool, args, context)

  defp deps(%Request{deps: nil, agent: agent}), do: agent.deps
  defp deps(%Request{deps: deps}), do: deps

  @doc "The task with this reference has ended: what its call is to be answered."
  @spec ended(t, reference, outcome :: term) :: {:ok, entry, answer :: map, t} | :error
  def ended(calls, task_ref, outcome) do
    case calls.by_task do
      %{^task_ref => call_id} ->
        {entry, calls} = pop(calls, call_id)
        Report.call_ended(entry, outcome)
        {:ok, entry, answer(entry.kind, outcome), calls}

      _unknown ->
        :error
    end
  end

  defp answer(:tool, outcome), do: Tool.Runner.answer(outcome)
  defp answer(:approval, outcome), do: Tool.Runner.verdict(outcome)

  @doc "Nobody waits for this call any more: its task is killed."
  @spec drop(t, String.t()) :: t
  def drop(calls, call_id) do
    case pop(calls, call_id) do
      {nil, calls} ->
        calls

      {entry, calls} ->
        Tool.Runner.stop(entry.task)
        Report.call_dropped(entry)
        calls
    end
  end

  defp put(calls, %{task: task, call_id: call_id} = entry) do
    by_call = Map.put(calls.by_call, call_id, entry)
    %{calls | by_call: by_call, by_task: Map.put(calls.by_task, task.ref, call_id)}
  end

  defp pop(calls, call_id) do
    case Map.pop(calls.by_call, call_id) do
      {nil, _same} -> {nil, calls}
      {entry, rest} -> {entry, %{calls | by_call: rest, by_task: Map.delete(calls.by_task, entry.task.ref)}}
    end
  end
end
