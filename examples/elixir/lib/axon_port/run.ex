defmodule AxonPort.Run do
  @moduledoc """
  What a caller asks for, made into a request: the agent, the prompt and the options of `AxonPort.run_sync/4`.
  """

  alias AxonPort.{Agent, Command, Error, Plain, Request, Schema}

  # Options that are fields of the command, by their names on the wire.
  @fields %{
    history: "message_history",
    messages: "messages",
    instructions: "instructions",
    deps: "deps",
    model: "model",
    model_settings: "model_settings",
    usage_limits: "usage_limits",
    output: "output_schema",
    timeout: "timeout_ms",
    idle_timeout: "idle_timeout_ms",
    retry: "retry",
    metadata: "metadata",
    deferred_results: "deferred_results",
    traceparent: "traceparent",
    events: "events",
    credit: "credit"
  }

  @objects [:deps, :model_settings, :usage_limits, :retry, :metadata]
  @streamed [:events, :credit]
  @ours [:attempts, :owner, :ref, :stream, :window]

  # A run may take a second to unwind and its terminal frame another to come: sooner the worker's own answer, which has
  # messages and usage, would be missed.
  @margin_ms 2_000

  # For a run that nobody gave a limit. A worker that hangs is noticed sooner, by its health checks.
  @longest_ms 600_000

  @doc """
  The request of a run. Raises `ArgumentError` for options there are none of, and for what is no agent.
  """
  @spec request(:run | :stream, AxonPort.agent(), AxonPort.prompt(), keyword) ::
          {:ok, Request.t()} | {:error, Error.t()}
  def request(kind, agent, prompt, options) do
    Enum.each(options, &known!(kind, &1))
    {agent, agent_id} = identify(agent)
    fields = for {key, value} <- options, name = @fields[key], into: %{}, do: {name, field(key, value)}

    with {:ok, command} <-
           Command.new(to_string(kind), Map.merge(fields, %{"agent_id" => agent_id, "prompt" => prompt})) do
      {:ok,
       Request.new(kind, command,
         agent: agent,
         agent_id: agent_id,
         output: options[:output] || (agent && agent.output),
         ref: options[:ref] || make_ref(),
         owner: options[:owner] || self(),
         deps: options[:deps],
         timeout: deadline(options[:timeout], agent)
       )}
    end
  end

  defp field(:output, type) when type != nil, do: Schema.to_json(type)
  defp field(:model, model) when model != nil, do: Agent.model(model)
  # Those that are objects may be keyword lists.
  defp field(key, value) when key in @objects, do: Plain.object(value)
  defp field(_key, value), do: value

  defp known!(kind, {:timeout, timeout}) when timeout != nil and not (is_integer(timeout) and timeout > 0),
    do: raise(ArgumentError, ":timeout of a #{kind} cannot be #{inspect(timeout)}")

  defp known!(:stream, {key, _value}) when key in @streamed, do: :ok
  defp known!(_kind, {key, _value}) when is_map_key(@fields, key) and key not in @streamed, do: :ok
  defp known!(_kind, {key, _value}) when key in @ours, do: :ok
  defp known!(kind, {key, _value}), do: raise(ArgumentError, "#{inspect(key)} is no option of a #{kind}")

  @doc "The agent and its name; of an agent that is known by name only, the name."
  @spec identify(AxonPort.agent()) :: {term, String.t()}
  def identify(agent_id) when is_binary(agent_id), do: {nil, agent_id}

  def identify(agent) do
    agent = Agent.new(agent)
    {agent, agent.id}
  end

  defp deadline(nil, %{timeout: timeout}) when is_integer(timeout), do: timeout + @margin_ms
  defp deadline(nil, _agent), do: @longest_ms
  defp deadline(timeout, _agent), do: timeout + @margin_ms
end
