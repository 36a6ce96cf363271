defmodule AxonPort.Tool.Runner do
  @moduledoc """
  Runs tools and approvals as tasks, and says what becomes of their outcomes on the wire.

  A call is one task under a `Task.Supervisor`, not linked to whoever started it. Nothing is rescued: a tool that raises,
  throws or exits crashes its task, which logs it, and the `:DOWN` message tells the reason. So whoever starts a call
  holds one reference, and gets one of two messages for it:

      {ref, outcome}                                  -> Runner.answer(outcome)
      {:DOWN, ref, :process, pid, reason}             -> Runner.answer({:exit, reason})

  Arguments and deps are cast and the value is made plain inside the task: neither a large value nor a hostile one costs the
  owner anything, and what `answer/1` is given can always be encoded.
  """

  alias AxonPort.{Agent, Plain, Schema, Tool}

  @doc "Starts a call of a tool. The arguments are JSON data, as the worker sent them."
  @spec start(Supervisor.supervisor(), Tool.t(), map, Tool.context()) :: Task.t()
  def start(supervisor, %Tool{} = tool, args, context) do
    Task.Supervisor.async_nolink(supervisor, fn -> call(tool, args, made_known(context)) end)
  end

  @doc "Starts asking whether a call may be made. The outcome is for `verdict/1`."
  @spec approve(Supervisor.supervisor(), Tool.t(), map, Tool.context()) :: Task.t()
  def approve(supervisor, %Tool{} = tool, args, context) do
    Task.Supervisor.async_nolink(supervisor, fn -> ask(tool, args, made_known(context)) end)
  end

  @doc """
  Starts asking what is to become of a call that a run has left open; `call` is an entry of `deferred.calls`.

  The outcome is `{:resolved, entry}` with an entry of `deferred_results`, or `:later`.
  """
  @spec resolve(Supervisor.supervisor(), Tool.t(), map, Tool.context()) :: Task.t()
  def resolve(supervisor, %Tool{resolve: resolve} = tool, call, context) when resolve != nil do
    Task.Supervisor.async_nolink(supervisor, fn -> look_into(tool, call, made_known(context)) end)
  end

  @doc "Ends a task at once, whatever it does, and forgets it: neither of its messages comes after this."
  @spec stop(Task.t()) :: :ok
  def stop(%Task{pid: pid, ref: ref}) do
    Process.exit(pid, :kill)
    Process.demonitor(ref, [:flush])

    receive do
      {^ref, _outcome} -> :ok
    after
      0 -> :ok
    end
  end

  @doc "The fields of `tool_result` for an outcome, a crash (`{:exit, reason}`), or a limit that has passed."
  @spec answer(Tool.outcome() | {:exit, term} | :timeout) :: %{String.t() => Plain.t()}
  def answer({:ok, value}), do: %{"result" => value}
  def answer({:ok, value, parts}), do: %{"result" => value, "content" => parts}
  def answer({:retry, text}), do: %{"retry" => text}
  def answer({:failed, text}), do: %{"failed" => text}
  def answer({:error, reason}), do: %{"error" => text(reason)}
  def answer({:error, message, details}), do: %{"error" => message, "details" => details}
  def answer({:exit, reason}), do: %{"error" => crash(reason)}
  def answer(:timeout), do: %{"retry" => "the call took too long"}

  @doc "The fields of `approval` for what somebody said, or for a crash: then the call is refused."
  @spec verdict(Tool.verdict() | {:exit, term}) :: %{String.t() => Plain.t()}
  def verdict(:approve), do: %{"approved" => true}
  def verdict({:approve, nil}), do: %{"approved" => true}
  def verdict({:approve, args}), do: %{"approved" => true, "args" => args}
  def verdict({:deny, text}), do: %{"approved" => false, "message" => text}
  def verdict({:exit, _reason}), do: %{"approved" => false, "message" => "nobody could be asked"}

  @doc """
  An entry of `deferred_results`: what became of a call that a run has left open.

  Raises `ArgumentError` if the answer is no answer to this call.
  """
  @spec entry(map, Tool.outcome() | Tool.verdict()) :: %{String.t() => Plain.t()}
  def entry(%{"approval" => true}, answer), do: answer |> verdict!() |> verdict()

  def entry(%{"call_id" => call_id}, answer) do
    case outcome!(answer) do
      {kind, _told} = outcome when kind in [:ok, :retry, :failed] -> answer(outcome)
      other -> raise ArgumentError, "#{inspect(other)} cannot answer the deferred call #{call_id}"
    end
  end

  defp call(%Tool{run: run} = tool, args, context) do
    case cast(tool, args) do
      {:ok, args} -> run |> apply_to(args, context) |> outcome!()
      {:error, text} -> {:retry, text}
    end
  end

  # One that needs approval and has nobody who gives it is refused, not let through.
  defp ask(%Tool{approve: nil}, _args, _context), do: {:deny, "there is nobody who could allow this"}

  defp ask(%Tool{name: name, approve: approve} = tool, args, context) do
    case cast(tool, args) do
      {:ok, args} -> verdict!(approve.(%{name: name, args: args}, context))
      {:error, text} -> {:deny, text}
    end
  end

  defp look_into(%Tool{name: name, resolve: resolve} = tool, call, context) do
    case cast(tool, call["args"]) do
      {:ok, args} -> resolved(call, resolve.(%{name: name, args: args}, context))
      {:error, text} -> resolved(call, if(call["approval"], do: {:deny, text}, else: {:retry, text}))
    end
  end

  defp resolved(_call, :later), do: :later
  defp resolved(call, answer), do: {:resolved, entry(call, answer)}

  # What JSON gives back, so that a tool sees the same deps before and after they were stored.
  defp made_known(%{agent: %Agent{deps_schema: type}, deps: deps} = context) do
    plain = deps |> Plain.object() |> Plain.from!()

    case type && Schema.cast(type, plain) do
      {:ok, value} -> %{context | deps: value}
      _no_type_or_no_value -> %{context | deps: plain}
    end
  end

  defp made_known(context), do: context

  # A function of the worker may leave its parameters to its signature.
  defp cast(%Tool{parameters: nil}, args), do: {:ok, args}

  defp cast(%Tool{parameters: parameters}, args) do
    with {:error, {path, expected}} <- Schema.cast(parameters, args) do
      {:error, "#{Enum.join(path, ".")}: expected #{expected}"}
    end
  end

  defp apply_to(run, args, _context) when is_function(run, 1), do: run.(args)
  defp apply_to(run, args, context), do: run.(args, context)

  defp outcome!({:ok, value}), do: {:ok, Plain.from!(value)}
  defp outcome!({:ok, value, parts}) when is_list(parts), do: {:ok, Plain.from!(value), Plain.from!(parts)}

  defp outcome!({kind, text}) when kind in [:retry, :failed] and is_binary(text) do
    {kind, Plain.from!(text)}
  end

  defp outcome!({:error, reason}), do: {:error, text(reason)}

  defp outcome!({:error, text, details}) when is_binary(text) do
    {:error, Plain.from!(text), Plain.from!(details)}
  end

  defp outcome!(other), do: raise(ArgumentError, "a tool cannot return #{inspect(other)}: see AxonPort.Tool")

  defp verdict!(:approve), do: :approve
  defp verdict!({:approve, nil}), do: :approve
  defp verdict!({:approve, %{} = args}), do: {:approve, Plain.from!(args)}
  defp verdict!({:deny, text}) when is_binary(text), do: {:deny, Plain.from!(text)}
  defp verdict!(other), do: raise(ArgumentError, "an approval cannot be #{inspect(other)}: see AxonPort.Tool")

  defp crash({reason, [{_, _, _, _} | _] = stacktrace}), do: text(reason, stacktrace)
  defp crash(reason), do: "the tool exited: " <> bounded(Exception.format_exit(reason))

  defp text({:nocatch, value}, _stacktrace), do: "the tool threw " <> bounded(inspect(value))

  defp text(reason, stacktrace) do
    exception = Exception.normalize(:error, reason, stacktrace)
    "the tool raised #{inspect(exception.__struct__)}: " <> bounded(Exception.message(exception))
  end

  defp text(reason) when is_binary(reason), do: if(String.valid?(reason), do: reason, else: inspect(reason))
  defp text(reason) when is_exception(reason), do: bounded(Exception.message(reason))
  defp text(reason), do: bounded(inspect(reason))

  # The worker cuts messages of errors at the same length: what is beyond it would only travel.
  @max_message_characters 8192

  defp bounded(text) do
    text = if String.valid?(text), do: text, else: inspect(text)
    String.slice(text, 0, @max_message_characters)
  end
end
